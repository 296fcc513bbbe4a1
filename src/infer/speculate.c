// Guesses from the text itself, verified in one pass (prompt lookup: Saxena 2023; verification as in Leviathan et al.,
// arXiv 2211.17192, with drafts that are certain or wrong).
//
// The session runs ahead of the text: it holds text[0..n) and behind it guesses whose logits are in `rows`. Feeding the
// token that was guessed next only moves on by a row; any other token cuts the session back to the text.
//
// Whether it pays is measured, for a pass over several tokens is not free everywhere. `credit` is the time won so far,
// forgotten slowly; when it is used up, guessing rests, twice as long every time that it fails again. A first pass of its
// width costs a program to compile besides. Until then guesses are made in the shadow: compared with what comes, not fed.
// `promise` is what they would have won lately; a new width has to be worth its program by that measure.
#include "orion/speculate.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum {
  LONGEST_MATCH = 4,    // tokens that must have stood in the text before; longer matches guess no better
  SHORTEST_MATCH = 2,
  FIRST_GUESSES = 3,
  NARROWEST = 4,        // tokens of the narrowest program for several
  SHORTEST_REST = 8,    // single tokens
  LONGEST_REST = 512,
};
#define FORGET 0.9      // of credit, every pass
#define OVERDRAFT 2.0   // passes over one token that guessing may lose before it rests
#define SLOWER 0.05     // weight of a time above the last: it may have been an interruption
#define PROGRAMS 2.0    // to compile for a width: body and head
#define RECALL 0.98     // of promise, every token

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
  int32_t shadow;           // what would have been guessed next; -1: nothing, or guesses are fed
  double single;            // seconds of an undisturbed pass over one token; 0: not known
  double credit;            // seconds
  size_t rest, next_rest;
  double debt;              // seconds of the last pass beyond those of a single token
  double promise;           // seconds that right guesses were worth, fed or not
  bool eager;               // do not wait for a promise
  uint32_t widths;          // of which programs are compiled: powers of two from NARROWEST on
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
  p->shadow = -1;
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

// What followed the text's last tokens where they stood before, the longest match and of those the latest: tokens
// behind text[n), up to `most`.
static size_t guess(const orion_speculator *p, size_t most) {
  size_t best = 0, from = 0;
  for (size_t at = p->n; at-- > SHORTEST_MATCH && best < LONGEST_MATCH;) {
    size_t m = 0;
    while (m < LONGEST_MATCH && m < at && p->text[at - 1 - m] == p->text[p->n - 1 - m]) m++;
    if (m >= SHORTEST_MATCH && m > best) {
      best = m;
      from = at;
    }
  }
  if (best == 0) return 0;
  for (size_t i = 0; i < most; i++) p->text[p->n + i] = p->text[from + i];  // may run on into itself: a repeat
  return most;
}

static orion_status keep_row(void *ctx, size_t index, const float *logits, orion_error *err) {
  orion_speculator *p = ctx;
  (void)err;
  memcpy(p->rows + index * p->vocab, logits, p->vocab * sizeof *logits);
  return ORION_OK;
}

static uint32_t width_of(size_t tokens) {
  uint32_t width = NARROWEST;
  while (width < tokens) width *= 2;
  return width;
}

// How many of so many guesses can be fed: those that a compiled program takes, or one worth compiling.
static size_t affordable(const orion_speculator *p, size_t guesses) {
  if (p->rest || p->single <= 0) return 0;
  orion_session_info info;
  orion_session_describe(p->session, &info);
  if (p->eager || p->promise >= PROGRAMS * info.width_seconds) return guesses;
  for (uint32_t width = width_of(guesses + 1); width >= NARROWEST; width /= 2) {
    if (p->widths & width) return size_at_most(guesses, width - 1);
  }
  return 0;
}

// Whether a pass of that many tokens was the first of its width: its time, with a program's compilation, says nothing.
static bool is_first(orion_speculator *p, size_t tokens) {
  uint32_t width = width_of(tokens);
  bool first = !(p->widths & width);
  p->widths |= width;
  if (first) p->promise = 0;
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
  p->single = p->single > 0 && time > p->single ? p->single + SLOWER * (time - p->single) : time;
  if (p->rest) p->rest--;
  return ORION_OK;
}

// One token and, if it may be, guesses behind it.
static orion_status feed_guessing(orion_speculator *p, int32_t token, orion_error *err) {
  p->text[p->n++] = token;  // so that the guess sees it
  size_t guessed = guess(p, size_at_most(p->width, p->context - p->n)), count = guessed ? affordable(p, guessed) : 0;
  p->shadow = guessed && !count ? p->text[p->n] : -1;
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
  bool fed = n == 1 && p->logits && p->n_guesses && p->text[p->n] == tokens[0];
  p->promise *= RECALL;
  if (fed || (n == 1 && p->shadow == tokens[0])) p->promise += p->single;
  p->shadow = -1;
  if (fed) {
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

void orion_speculator_be_eager(orion_speculator *p) { p->eager = true; }
const float *orion_speculator_logits(const orion_speculator *p) { return p->logits; }
void orion_speculator_describe(const orion_speculator *p, orion_speculator_info *out) { *out = p->info; }
