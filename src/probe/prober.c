#include "probe/prober.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "mil/blob.h"

bool probe_failed(prober *p) { return p->status != ORION_OK; }

static void fail(prober *p, orion_status status) {
  if (p->status == ORION_OK) p->status = status;
}

static void out_of_memory(prober *p) { fail(p, ORION_OOM(p->err, "probe")); }

void probe_see(prober *p, const char *format, ...) {
  char *out = p->out->observed;
  size_t used = strlen(out), size = sizeof p->out->observed;
  if (used && used + 3 < size) used += (size_t)snprintf(out + used, size - used, "; ");
  va_list args;
  va_start(args, format);
  vsnprintf(out + used, size - used, format, args);
  va_end(args);
}

void probe_note(prober *p, const char *format, ...) {
  p->unclear = true;
  va_list args;
  va_start(args, format);
  vsnprintf(p->out->note, sizeof p->out->note, format, args);
  va_end(args);
}

void probe_measure(prober *p, const char *limit, double value) {
  p->out->limit = limit;
  p->out->value = value;
}

// ---- texts, files ----

const char *probe_text(prober *p, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *text = ORION_ARENA_ARRAY(&p->arena, char, (size_t)n + 1);
  if (!text) {
    out_of_memory(p);
    return "";
  }
  va_start(args, format);
  vsnprintf(text, (size_t)n + 1, format, args);
  va_end(args);
  return text;
}

size_t probe_pitch(size_t elements) { return ORION_BLOB_ALIGN + (2 * elements + 63) / 64 * 64; }

static void put(uint8_t *at, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> 8 * i);
}

orion_raw_file probe_blob(prober *p, const char *path, size_t elements, size_t count, float value) {
  size_t n = ORION_BLOB_ALIGN + count * probe_pitch(elements);
  uint8_t *bytes = ORION_ARENA_ARRAY(&p->arena, uint8_t, n);
  if (!bytes) {
    out_of_memory(p);
    return (orion_raw_file){path, NULL, 0};
  }
  memset(bytes, 0, n);
  put(bytes, count, 4);
  put(bytes + 4, ORION_BLOB_VERSION, 4);
  orion_half word = orion_float_to_half(value);
  for (size_t i = 0; i < count; i++) {
    size_t record = ORION_BLOB_ALIGN + i * probe_pitch(elements), data = record + ORION_BLOB_ALIGN;
    put(bytes + record, ORION_BLOB_SENTINEL, 4);
    put(bytes + record + 4, orion_blob_code(ORION_FP16), 4);
    put(bytes + record + 8, 2 * elements, 8);
    put(bytes + record + 16, data, 8);
    for (size_t k = 0; k < elements && word; k++) put(bytes + data + 2 * k, word, 2);
  }
  return (orion_raw_file){path, bytes, n};
}

// ---- compile ----

orion_raw *probe_compile(prober *p, const char *text, const orion_raw_file *files, size_t n, unsigned mistakes,
                         orion_answer *answer) {
  *answer = (orion_answer){.rule = ORION_RULES};
  if (probe_failed(p)) return NULL;
  orion_raw_program program = {text, strlen(text), files, n, mistakes};
  orion_raw *r = NULL;
  fail(p, p->raw->compile(p->d, &program, &r, answer, p->err));
  return r;
}

orion_raw *probe_load(prober *p, const char *text, orion_answer *answer) {
  if (!p->raw->load) return probe_compile(p, text, NULL, 0, 0, answer);
  *answer = (orion_answer){.rule = ORION_RULES};
  if (probe_failed(p)) return NULL;
  orion_raw_program program = {.text = text, .n_text = strlen(text)};
  orion_raw *r = NULL;
  fail(p, p->raw->load(p->d, &program, &r, answer, p->err));
  return r;
}

void probe_release(prober *p, orion_raw *r) {
  if (r) p->raw->release(r, true);
}

bool probe_is_refusal(prober *p, const orion_answer *a) {
  if (a->symptom == ORION_SYMPTOM_NONE) return false;
  if (!p->names_rules || a->rule == p->rule) return true;
  probe_note(p, "refused by %s: %.120s", a->rule == ORION_RULES ? "no rule" : orion_rule_row(a->rule)->id, a->text);
  return false;
}

bool probe_compiles(prober *p, const char *text, const orion_raw_file *files, size_t n) {
  orion_answer answer;
  orion_raw *r = probe_compile(p, text, files, n, 0, &answer);
  if (!r && !probe_failed(p)) probe_is_refusal(p, &answer);
  probe_release(p, r);
  return r != NULL;
}

const char *probe_answer_text(const orion_answer *a, char *out, size_t size) {
  static const char *const where[ORION_SYMPTOMS] = {"works", "refused when compiled", "refused when loaded",
                                                    "refused when run", "refused: it would go wrong silently",
                                                    "the process dies", "slow", "the process is spent"};
  if (a->status) {
    snprintf(out, size, "%s (0x%x)", where[a->symptom], (unsigned)a->status);
  } else {
    snprintf(out, size, "%s", where[a->symptom]);
  }
  return out;
}

// ---- surfaces ----

bool probe_surface_make(prober *p, size_t bytes, float fill, probe_surface *out) {
  *out = (probe_surface){0};
  if (probe_failed(p)) return false;
  orion_layout l = {.dtype = ORION_FP16, .rank = 1, .dims = {(int64_t)(bytes / 2)}, .row_bytes = bytes, .bytes = bytes};
  fail(p, orion_surface_create(p->d, &l, &out->s, p->err));
  if (probe_failed(p)) return false;
  out->words = orion_surface_lock(out->s);
  out->n = bytes / 2;
  for (size_t i = 0; i < out->n && fill != 0; i++) probe_set(out, i, fill);  // zeroed when made
  orion_surface_unlock(out->s);
  return true;
}

void probe_surface_free(probe_surface *s) {
  orion_surface_destroy(s->s);
  *s = (probe_surface){0};
}

bool probe_run(prober *p, orion_raw *r, const probe_surface *in, size_t n_in, const probe_surface *out, size_t n_out,
               orion_answer *answer) {
  enum { MOST = 64 };
  orion_surface *inputs[MOST], *outputs[MOST];
  *answer = (orion_answer){.rule = ORION_RULES};
  if (!r || probe_failed(p) || n_in > MOST || n_out > MOST) return false;
  for (size_t i = 0; i < n_in; i++) inputs[i] = in[i].s;
  for (size_t i = 0; i < n_out; i++) outputs[i] = out[i].s;
  orion_raw_request q = {inputs, outputs, n_in, n_out};
  fail(p, p->raw->run(r, &q, answer, p->err));
  return !probe_failed(p) && answer->symptom == ORION_SYMPTOM_NONE;
}

float probe_word(const probe_surface *s, size_t i) { return orion_half_to_float(s->words[i]); }
void probe_set(probe_surface *s, size_t i, float value) { s->words[i] = orion_float_to_half(value); }
