// Probes of what a process has: compiles, slots, identities, and weights under a compiled program.
#include <string.h>

#include "probe/prober.h"

// A program of its own for each number.
static const char *numbered(prober *p, int i) {
  return probe_text(p, FUNCTION(X " x", OP(X, "r%d", "relu(x = x)"), "r%d"), i, i, i);
}

// Compiles and drops until it is refused.
static bool compile_budget(prober *p) {
  int most = p->t->compile_budget + p->t->compile_budget / 4, done = 0;
  orion_answer answer = {.rule = ORION_RULES};
  for (; done < most; done++) {
    orion_raw *r = probe_compile(p, numbered(p, done), NULL, 0, 0, &answer);
    if (!r) break;
    probe_release(p, r);
  }
  bool refused = done < most && !probe_failed(p) && probe_is_refusal(p, &answer);
  probe_see(p, refused ? "refused after %d compiles" : "%d compiles and no end", done);
  if (refused) probe_measure(p, "compile_budget", done);
  return refused && done >= p->t->compile_budget * 4 / 5;
}

// Loads up to `most` programs until it is refused; `careless`: drops all but the first DISTINCT without unloading them. Only
// so many differ, the others are those loaded once more, so that the budget of compiles is not what ends it.
enum { DISTINCT = 32, LOADS = 512 };

static int load_many(prober *p, int most, bool careless, orion_raw **kept, orion_answer *answer) {
  int n = 0;
  for (; n < most && n < LOADS && !probe_failed(p); n++) {
    const char *text = numbered(p, n % DISTINCT);
    orion_raw *r = n < DISTINCT ? probe_compile(p, text, NULL, 0, 0, answer) : probe_load(p, text, answer);
    if (!r) break;
    kept[n] = r;
    if (!careless || n < DISTINCT) continue;
    p->raw->release(r, false);
    kept[n] = NULL;
  }
  return n;
}

static void release_all(prober *p, orion_raw **kept, int n) {
  for (int i = n; i-- > 0;) probe_release(p, kept[i]);  // the first one of a text owns its files
}

// What ended it must be the load: whatever else refuses leaves the matter unclear.
static bool is_full(prober *p, const orion_answer *answer) {
  if (answer->symptom != ORION_SYMPTOM_LOAD && !p->names_rules) probe_note(p, "not for want of a slot: %.180s", answer->text);
  return answer->symptom == ORION_SYMPTOM_LOAD;
}

static bool load_slots(prober *p) {
  orion_raw *kept[LOADS];
  orion_answer answer = {.rule = ORION_RULES};
  int most = p->t->load_slots + p->t->load_slots / 4, n = load_many(p, most, false, kept, &answer);
  bool refused = n < most && !probe_failed(p) && probe_is_refusal(p, &answer) && is_full(p, &answer);
  release_all(p, kept, n);
  probe_see(p, refused ? "refused after %d loaded programs (0x%x)" : "%d loaded programs and no end", n, (unsigned)answer.status);
  if (refused) probe_measure(p, "load_slots", n);
  return refused && n >= p->t->load_slots * 4 / 5;
}

// Dropped without being unloaded; if that goes on for ever, there may be no slots to run out of at all.
static bool unload(prober *p) {
  orion_raw *kept[LOADS];
  orion_answer answer = {.rule = ORION_RULES};
  int most = p->t->load_slots + p->t->load_slots / 4, n = load_many(p, most, true, kept, &answer);
  bool refused = n < most && !probe_failed(p);
  release_all(p, kept, n);
  probe_see(p, refused ? "dropped without unload: refused after %d" : "dropped without unload: %d and no end", n);
  if (refused) return (answer.rule == ORION_RULE_C40 || probe_is_refusal(p, &answer)) && is_full(p, &answer);
  int control = load_many(p, most, false, kept, &answer);
  release_all(p, kept, control);
  if (control == most) probe_note(p, "there is no limit to loaded programs here (C40)");
  return false;
}

// ---- identity ----

static bool identity(prober *p) {
  char one[256] = "", same[256] = "", other[256] = "";
  const char *text = numbered(p, 1);
  orion_raw_program a = {text, strlen(text), NULL, 0, 0}, b = a;
  orion_answer first = {.rule = ORION_RULES}, second = first;
  b.text = numbered(p, 2);
  if (probe_failed(p)) return false;
  b.n_text = strlen(b.text);
  bool named = p->raw->identity(p->d, &a, one, p->err) == ORION_OK && p->raw->identity(p->d, &a, same, p->err) == ORION_OK &&
               p->raw->identity(p->d, &b, other, p->err) == ORION_OK;
  probe_release(p, probe_compile(p, a.text, NULL, 0, 0, &first));
  probe_release(p, probe_compile(p, a.text, NULL, 0, 0, &second));
  if (!named || first.symptom != ORION_SYMPTOM_NONE || second.symptom != ORION_SYMPTOM_NONE) {
    probe_note(p, "does not compile: %.180s", first.text);
    return false;
  }
  if (p->keeps_time) probe_see(p, "compiled in %.1f ms, again in %.1f ms", first.seconds * 1e3, second.seconds * 1e3);
  bool again = strcmp(one, same) == 0, another = strcmp(one, other) != 0;
  probe_see(p, "the same text: %s identity; another: %s", again ? "the same" : "another", another ? "another" : "the same");
  return again && another && (!p->keeps_time || second.seconds < 0.6 * first.seconds);
}

// ---- weights ----

// 64 inputs of 1 by weights of 1, then of 3 in the same files. The statement: nothing changes.
static bool weights_baked(prober *p) {
  static const char text[] = FUNCTION(
      X " x", CONV_ARGS BLOB(TYPE("64, 64, 1, 1"), "w", "weights/weight.bin", "64") OP(X, "y", CONV_CALL("")), "y");
  static const char *const names[] = {"files", "files and data", "a new identity"};
  orion_raw_file ones = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 1), threes = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 3);
  probe_surface in = {0}, out = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool baked = true;
  if (!probe_surface_make(p, X_BYTES, 1, &in) || !probe_surface_make(p, X_BYTES, 0, &out)) goto done;
  for (int how = ORION_RELOAD_FILES; how <= ORION_RELOAD_IDENTITY && !probe_failed(p); how++) {
    orion_raw *r = probe_compile(p, text, &ones, 1, 0, &answer);
    bool ran = r && probe_run(p, r, &in, 1, &out, 1, &answer);
    float before = ran ? probe_word(&out, 1) : 0;
    if (ran && p->raw->reload(r, &threes, 1, (orion_raw_reload)how, &answer, p->err) != ORION_OK) ran = false;
    if (!ran) {
      probe_note(p, "does not run: %.180s", answer.text);
    } else if (answer.symptom != ORION_SYMPTOM_NONE) {
      char words[80];
      probe_see(p, "%s: %s", names[how], probe_answer_text(&answer, words, sizeof words));
      probe_is_refusal(p, &answer);
    } else if (probe_run(p, r, &in, 1, &out, 1, &answer)) {
      float after = probe_word(&out, 1);
      probe_see(p, "%s: %g then %g", names[how], (double)before, (double)after);
      // The statement is about files; the other two ways are worth knowing.
      if (how == ORION_RELOAD_FILES) baked = after == before;
    }
    probe_release(p, r);
  }
done:
  probe_surface_free(&in);
  probe_surface_free(&out);
  return baked;
}

const probe_row *probe_process_rows(size_t *out_n) {
  static const probe_row rows[] = {
      {ORION_RULE_C05, compile_budget, true}, {ORION_RULE_C07, weights_baked, false}, {ORION_RULE_C27, unload, true},
      {ORION_RULE_C40, load_slots, true},     {ORION_RULE_C41, identity, false},
  };
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
