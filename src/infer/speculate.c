// Guesses from the text itself, verified in one pass (prompt lookup: Saxena 2023; verification as in Leviathan et al.,
// arXiv 2211.17192, with drafts that are certain or wrong).
//
// The session runs ahead of the text: it holds text[0..n) and behind it guesses whose logits are in `rows`. Feeding the
// token that was guessed next only moves on by a row; any other token cuts the session back to the text.
//
// Whether it pays is measured, for a pass over several tokens is not free everywhere. `credit` is the time won so far,
// forgotten slowly; when it is used up, guessing rests, twice as long every time that it fails again.
#include "orion/speculate.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum {
  LONGEST_MATCH = 4,    // tokens that must have stood in the text before; longer matches guess no better
  SHORTEST_MATCH = 2,
  FIRST_GUESSES = 3,
  SHORTEST_REST = 8,    // single tokens
  LONGEST_REST = 512,
};
#define FORGET 0.9      // of credit, every pass
#define OVERDRAFT 2.0   // passes over one token that guessing may lose before it rests
#define SMOOTH 0.25     // weight of the newest time

struct orion_speculator {
  const orion_allocator *allocator;
  orion_session *session;
  size_t vocab, context;
  int32_t *text;            // [context]; the first n are fed, n_guesses behind them are guesses the session knows
  size_t n, n_guesses;
  float *rows;              // [most + 1, vocab]: logits after text[n - 1 - row], ..., while guesses are there
  size_t row, most;
  const float *logits;      // NULL: none
  size_t width;             // guesses of the next pass
  double single;            // seconds of a pass over one token; 0: not known
  double credit;            // seconds
  size_t rest, next_rest;
  double debt;              // seconds of the last pass beyond those of a single token
  uint32_t widths;          // passes there were, by the power of two that holds them
  orion_speculator_info info;
};

static size_t size_at_most(size_t a, size_t b) { return a < b ? a : b; }

orion_status orion_speculator_create(orion_session *session, int most, orion_speculator **out, orion_error *err) {
  if (most < 1 || most > ORION_SPECULATE_MOST) {
    return ORION_FAIL(err, ORION_INVALID, "speculation: %d guesses a pass (want 1 to %d)", most, ORION_SPECULATE_MOST);
  }
  if (orion_session_position(session)) return ORION_FAIL(err, ORION_INVALID, "speculation: the session has a text already");
  orion_speculator *p = orion_alloc_zero(NULL, 1, sizeof *p);
  if (!p) return ORION_OOM(err, "speculation");
  p->session = session;
  p->vocab = (size_t)orion_session_vocab(session);
  p->context = (size_t)orion_session_context(session);
  p->most = (size_t)most;
  p->width = size_at_most(FIRST_GUESSES, p->most);
  p->next_rest = SHORTEST_REST;
  p->text = orion_alloc(NULL, p->context, sizeof *p->text);
  p->rows = orion_alloc(NULL, p->most + 1, p->vocab * sizeof *p->rows);
  if (!p->text || !p->rows) {
    orion_speculator_destroy(p);
    return ORION_OOM(err, "speculation");
  }
  *out = p;
  return ORION_OK;
}

void orion_speculator_destroy(orion_speculator *p) {
  if (!p) return;
  orion_session_truncate(p->session, (int64_t)p->n);
  orion_free(NULL, p->text, p->context, sizeof *p->text);
  orion_free(NULL, p->rows, p->most + 1, p->vocab * sizeof *p->rows);
  orion_free(NULL, p, 1, sizeof *p);
}

// What followed the latest earlier place where the text's last tokens stood: tokens behind text[n), up to `most`.
static size_t guess(const orion_speculator *p, size_t most) {
  for (size_t m = LONGEST_MATCH; m >= SHORTEST_MATCH; m--) {
    if (p->n <= m) continue;
    const int32_t *last = p->text + p->n - m;
    for (size_t at = p->n - m; at-- > 0;) {
      if (memcmp(p->text + at, last, m * sizeof *last) != 0) continue;
      for (size_t i = 0; i < most; i++) p->text[p->n + i] = p->text[at + m + i];  // may run on into itself: a repeat
      return most;
    }
  }
  return 0;
}

static orion_status keep_row(void *ctx, size_t index, const float *logits, orion_error *err) {
  orion_speculator *p = ctx;
  (void)err;
  memcpy(p->rows + index * p->vocab, logits, p->vocab * sizeof *logits);
  return ORION_OK;
}

// Whether a pass of that many tokens was the first of its width, which may have compiled a program: its time says
// nothing.
static bool is_first(orion_speculator *p, size_t tokens) {
  uint32_t bit = 2;
  while (bit < tokens) bit *= 2;
  bool first = !(p->widths & bit);
  p->widths |= bit;
  return first;
}

// The last pass is over: what it cost against what it won decides about the next.
static void settle(orion_speculator *p) {
  if (p->n_guesses == 0 && p->row == 0) return;
  size_t guessed = p->row + p->n_guesses;
  p->credit = p->credit * FORGET + (double)p->row * p->single - p->debt;
  if (p->n_guesses == 0) {
    p->width = size_at_most(2 * guessed + 1, p->most);
    p->next_rest = SHORTEST_REST;
  } else if (2 * p->row < guessed) {
    p->width = guessed > 2 ? guessed / 2 : 1;
  }
  if (p->credit < -OVERDRAFT * p->single) {
    p->credit = 0;
    p->rest = p->next_rest;
    p->next_rest = size_at_most(2 * p->next_rest, LONGEST_REST);
    p->width = size_at_most(FIRST_GUESSES, p->most);
  } else if (p->credit > 4 * OVERDRAFT * p->single) {
    p->credit = 4 * OVERDRAFT * p->single;
  }
  p->row = p->n_guesses = 0;
  p->debt = 0;
}

static void drop_guesses(orion_speculator *p) {
  settle(p);
  orion_session_truncate(p->session, (int64_t)p->n);
}

static orion_status feed_plain(orion_speculator *p, const int32_t *tokens, size_t n, orion_error *err) {
  double begin = orion_now();
  p->logits = NULL;
  ORION_TRY(orion_session_feed(p->session, tokens, n, err));
  memmove(p->text + p->n, tokens, n * sizeof *tokens);
  p->n += n;
  p->logits = orion_session_logits(p->session);
  if (n > 1) return ORION_OK;
  double time = orion_now() - begin;
  p->single = p->single > 0 ? p->single + SMOOTH * (time - p->single) : time;
  if (p->rest) p->rest--;
  return ORION_OK;
}

// One token and guesses behind it.
static orion_status feed_guessing(orion_speculator *p, int32_t token, orion_error *err) {
  p->text[p->n++] = token;  // so that the guess sees it
  size_t room = p->context - p->n, count = p->rest || p->single <= 0 ? 0 : guess(p, size_at_most(p->width, room));
  p->info.passes++;
  if (count == 0) {
    p->n--;
    return feed_plain(p, &token, 1, err);
  }
  double begin = orion_now();
  p->logits = NULL;
  orion_status status = orion_session_feed_all(p->session, p->text + p->n - 1, count + 1, keep_row, p, err);
  if (status != ORION_OK) {
    p->n--;
    return status;
  }
  p->debt = is_first(p, count + 1) ? 0 : orion_now() - begin - p->single;
  p->info.guessed += count;
  p->n_guesses = count;
  p->row = 0;
  p->logits = p->rows;
  return ORION_OK;
}

orion_status orion_speculator_feed(orion_speculator *p, const int32_t *tokens, size_t n, orion_error *err) {
  if (n == 0) return ORION_OK;
  if (n == 1 && p->logits && p->n_guesses && p->text[p->n] == tokens[0]) {
    p->n++;
    p->n_guesses--;
    p->row++;
    p->info.accepted++;
    p->logits = p->rows + p->row * p->vocab;
    return ORION_OK;
  }
  drop_guesses(p);
  if (n == 1 && p->n + 1 < p->context && tokens[0] >= 0 && (size_t)tokens[0] < p->vocab) {
    return feed_guessing(p, tokens[0], err);
  }
  return feed_plain(p, tokens, n, err);
}

const float *orion_speculator_logits(const orion_speculator *p) { return p->logits; }
void orion_speculator_describe(const orion_speculator *p, orion_speculator_info *out) { *out = p->info; }
