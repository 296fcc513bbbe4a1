// orion eval: how well a model predicts a text. Long texts are cut into windows of the context, each starting anew;
// every token but the first of a window is predicted.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/sim_report.h"
#include "cli/npy.h"
#include "cli/text_model.h"
#include "train/tokens_impl.h"

static const cli_option options[] = {
    CLI_MODEL_OPTIONS,
    {"file", 'f', CLI_TEXT, "TEXT", "text to predict (- for standard input)", false},
    {"tokens", 0, CLI_TEXT, "IDS", "the text as token ids, 1,2,3", false},
    {"tokens-file", 0, CLI_TEXT, "FILE", "the text as tokenize --to writes it: uint16 (uint32 above 65,536 tokens)", false},
    {"limit", 0, CLI_INT, "N", "look at the first N tokens only", false},
    {"logits", 0, CLI_TEXT, "OUT.npy", "write fp32 logits [T, V]", false},
    CLI_SIM_REPORT_OPTION,
    {0},
};

typedef struct evaluation {
  const int32_t *ids;       // of the window
  size_t n;
  int64_t vocab;
  double nll;               // sum over predicted tokens
  size_t predicted;
  orion_file_writer *npy;
} evaluation;

// log(sum(exp(logits))) - logits[target], in double.
static double token_nll(const float *logits, int64_t vocab, int32_t target) {
  double top = logits[0], sum = 0;
  for (int64_t i = 1; i < vocab; i++) top = logits[i] > top ? logits[i] : top;
  for (int64_t i = 0; i < vocab; i++) sum += exp(logits[i] - top);
  return log(sum) + top - logits[target];
}

static orion_status each(void *ctx, size_t index, const float *logits, orion_error *err) {
  evaluation *e = ctx;
  if (e->npy) ORION_TRY(orion_file_writer_put(e->npy, logits, (size_t)e->vocab * sizeof *logits, err));
  if (index + 1 >= e->n) return ORION_OK;
  double nll = token_nll(logits, e->vocab, e->ids[index + 1]);
  if (!isfinite(nll)) return ORION_FAIL(err, ORION_NUMERIC, "token %zu: its probability is %g", index + 1, exp(-nll));
  e->nll += nll;
  e->predicted++;
  return ORION_OK;
}

static orion_status load_token_file(const char *path, int64_t vocab, int32_t **out_ids, size_t *out_n, orion_error *err) {
  orion_token_file f = {.width = orion_token_width(vocab)};
  ORION_TRY(orion_file_open_map(path, &f.map, err));
  orion_status status = ORION_OK;
  f.bytes = f.map.data;
  if (f.map.size % (size_t)f.width) {
    status = ORION_FAIL(err, ORION_FORMAT, "%s: %zu bytes, not a whole number of uint%d tokens", path, f.map.size, 8 * f.width);
  } else {
    size_t n = f.map.size / (size_t)f.width;
    int32_t *ids = orion_alloc(NULL, n, sizeof *ids);
    if (!ids) status = ORION_OOM(err, path);
    for (size_t i = 0; ids && i < n && status == ORION_OK; i++) {
      ids[i] = orion_token_file_id(&f, i);  // one past INT32_MAX becomes negative
      if (ids[i] >= 0 && ids[i] < vocab) continue;
      status = ORION_FAIL(err, ORION_FORMAT, "%s: byte %zu: token %u is outside the vocabulary of %lld", path, i * (size_t)f.width,
                          (unsigned)ids[i], (long long)vocab);
    }
    *out_ids = ids;
    *out_n = n;
  }
  orion_file_close_map(&f.map);
  return status;
}

static orion_status load_text(const char *path, text_model *m, int32_t **out_ids, size_t *out_n, orion_error *err) {
  char *text;
  size_t size, n;
  ORION_TRY(cli_read_text(path, &text, &size, err));
  const int32_t *ids;
  orion_status status = text_model_encode(m, text, size, &ids, &n, err);
  if (status == ORION_OK) {
    *out_ids = orion_alloc(NULL, n, sizeof *ids);
    if (*out_ids) memcpy(*out_ids, ids, n * sizeof *ids);
    *out_n = n;
    if (!*out_ids) status = ORION_OOM(err, path);
  }
  orion_free(NULL, text, size + 1, 1);
  return status;
}

static orion_status evaluate(const cli_args *a, text_model *m, const int32_t *ids, size_t n, evaluation *e,
                             orion_error *err) {
  const char *out = cli_text(a, "logits", NULL);
  size_t window = (size_t)orion_session_context(m->session);
  if (out) {
    ORION_TRY(orion_file_writer_open(NULL, out, &e->npy, err));
    ORION_TRY(npy_write_header(e->npy, ORION_FP32, 2, (int64_t[]){(int64_t)n, e->vocab}, err));
  }
  for (size_t at = 0; at < n; at += window) {
    e->ids = ids + at;
    e->n = n - at < window ? n - at : window;
    orion_session_truncate(m->session, 0);
    ORION_TRY(orion_session_feed_all(m->session, e->ids, e->n, each, e, err));
    if (cli_progress_wanted(a)) fprintf(stderr, "\r%zu of %zu tokens", at + e->n, n);
  }
  if (cli_progress_wanted(a)) fputc('\n', stderr);
  if (!e->npy) return ORION_OK;
  orion_file_writer *w = e->npy;
  e->npy = NULL;
  return orion_file_writer_commit(w, err);
}

static orion_status run(const cli_args *a, orion_error *err) {
  const char *file = cli_text(a, "file", NULL), *list = cli_text(a, "tokens", NULL);
  const char *binary = cli_text(a, "tokens-file", NULL);
  if ((file != NULL) + (list != NULL) + (binary != NULL) != 1) {
    return CLI_USAGE(err, "eval: give one of -f TEXT, --tokens IDS and --tokens-file FILE");
  }
  const int64_t limit = cli_int(a, "limit", 0);
  if (limit < 0) return CLI_USAGE(err, "eval: --limit %lld is negative (want a number of tokens)", (long long)limit);
  text_model m;
  ORION_TRY(text_model_open(a, file != NULL, 0, &m, err));
  int32_t *ids = NULL;
  size_t n = 0;
  orion_status status = list     ? cli_parse_ids(list, "--tokens", &ids, &n, err)
                        : binary ? load_token_file(binary, orion_session_vocab(m.session), &ids, &n, err)
                                 : load_text(file, &m, &ids, &n, err);
  size_t used = n;
  if (limit > 0 && (size_t)limit < used) used = (size_t)limit;
  if (status == ORION_OK && used < 2) {
    status = CLI_USAGE(err, "eval: a text of %zu token%s predicts nothing (want 2 or more)", used, used == 1 ? "" : "s");
  }
  if (status == ORION_OK && orion_session_context(m.session) < 2) {
    status = CLI_USAGE(err, "eval: a window of one token predicts nothing (want --ctx 2 or more)");
  }
  evaluation e = {.vocab = orion_session_vocab(m.session)};
  double start = orion_now();
  if (status == ORION_OK) status = evaluate(a, &m, ids, used, &e, err);
  double seconds = orion_now() - start;
  orion_file_writer_abort(e.npy);
  if (status == ORION_OK) {
    double nll = e.nll / (double)e.predicted;
    if (a->json) {
      json_t *o = json_pack("{s:f, s:f, s:I, s:f}", "nll", nll, "ppl", exp(nll), "tokens", (json_int_t)e.predicted, "tok_s",
                            (double)used / seconds);
      cli_sim_report_end(a, m.device, o);
      cli_print_json(o);
    } else {
      printf("nll %.6f  ppl %.4f  over %zu tokens\n", nll, exp(nll), e.predicted);
      cli_sim_report_end(a, m.device, NULL);
    }
  }
  orion_free(NULL, ids, n, sizeof *ids);
  text_model_close(&m);
  return status;
}

const cli_command cli_command_eval = {
    "eval", "-m MODEL -f TEXT", "Perplexity of a model on a text.",
    "orion eval -m stories260K.bin --tokenizer tok512.bin -f story.txt --json", options, 0, 0, run};
