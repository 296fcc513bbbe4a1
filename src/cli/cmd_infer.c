// orion infer: generate. Text appears as it is made, whole characters only; what was asked for in JSON comes at the end.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/sim_report.h"
#include "cli/text_model.h"
#include "orion/sampler.h"
#include "orion/speculate.h"

static const cli_option options[] = {
    CLI_MODEL_OPTIONS,
    {"prompt", 'p', CLI_TEXT, "TEXT", "how the text begins", false},
    {"file", 'f', CLI_TEXT, "FILE", "prompt from a file (- for standard input)", false},
    {"tokens", 0, CLI_TEXT, "IDS", "prompt as token ids, 1,2,3", false},
    {"new", 'n', CLI_INT, "N", "tokens to generate; default 128", false},
    {"temp", 0, CLI_NUMBER, "T", "temperature; 0 (default): always the likeliest", false},
    {"top-k", 0, CLI_INT, "K", "sample among the K likeliest", false},
    {"top-p", 0, CLI_NUMBER, "P", "sample among the likeliest that make up P", false},
    {"min-p", 0, CLI_NUMBER, "P", "leave out tokens below P times the likeliest", false},
    {"repeat-penalty", 0, CLI_NUMBER, "R", "above 1: make recent tokens less likely", false},
    {"seed", 0, CLI_INT, "N", "of the random numbers; default 0", false},
    {"stop", 0, CLI_TEXT, "STR", "end the text before STR", true},
    {"speculate", 0, CLI_INT, "N", "guess up to N tokens ahead from the text itself; default 0: none", false},
    {"ignore-eos", 0, CLI_FLAG, NULL, "go on after an end token", false},
    CLI_SIM_REPORT_OPTION,
    {0},
};

typedef struct generation {
  const cli_args *a;
  text_model m;
  orion_sampler *sampler;
  orion_speculator *speculator;  // NULL: none asked for
  orion_token_decoder *decoder;
  orion_strbuf text;          // generated so far
  size_t printed;             // bytes of it on stdout
  bool line;                  // something stands on the line there
  int32_t *tokens;            // prompt, then generated
  size_t n, cap, n_prompt;
  double prefill_ms, decode_ms;
  size_t decoded;             // tokens that decode_ms is about
  bool stopped;               // by an end token or a stop text
} generation;

static orion_status append(generation *g, const int32_t *ids, size_t n, orion_error *err) {
  if (!ORION_GROW(NULL, &g->tokens, &g->cap, g->n + n)) return ORION_OOM(err, "tokens");
  memcpy(g->tokens + g->n, ids, n * sizeof *ids);
  g->n += n;
  return ORION_OK;
}

static orion_status read_prompt(generation *g, orion_error *err) {
  const char *prompt = cli_text(g->a, "prompt", NULL), *file = cli_text(g->a, "file", NULL);
  const char *ids = cli_text(g->a, "tokens", NULL);
  orion_status status;
  if (ids) {
    int32_t *list;
    size_t n;
    ORION_TRY(cli_parse_ids(ids, "--tokens", &list, &n, err));
    status = append(g, list, n, err);
    orion_free(NULL, list, n, sizeof *list);
  } else {
    char *text = NULL;
    size_t size = prompt ? strlen(prompt) : 0;
    if (file) ORION_TRY(cli_read_text(file, &text, &size, err));
    const int32_t *list;
    size_t n;
    status = text_model_encode(&g->m, file ? text : prompt, size, &list, &n, err);
    if (status == ORION_OK) status = append(g, list, n, err);
    if (text) orion_free(NULL, text, size + 1, 1);
  }
  if (status != ORION_OK) return status;
  if (g->n == 0) {  // an empty prompt begins with the begin token
    int64_t bos = g->m.model->config.bos;
    if (bos < 0 && g->m.tokenizer) bos = orion_tokenizer_bos(g->m.tokenizer);
    if (bos < 0) return CLI_USAGE(err, "infer: the prompt has no token, and the model has no begin token");
    int32_t first = (int32_t)bos;
    ORION_TRY(append(g, &first, 1, err));
  }
  g->n_prompt = g->n;
  int64_t context = orion_session_context(g->m.session), longest = g->m.model->config.context;
  if (g->n_prompt <= (size_t)context) return ORION_OK;
  return ORION_FAIL(err, ORION_LIMIT, "infer: the prompt has %zu tokens, the context %lld positions (shorten it%s)", g->n_prompt,
                    (long long)context, context < longest ? ", or give a larger --ctx" : "");
}

// Bytes of the text that may be printed: not those that may turn out to be the start of a stop text.
static size_t printable(const generation *g, bool *out_stop) {
  const char *text = orion_strbuf_text(&g->text);
  size_t size = g->text.size, limit = size;
  *out_stop = false;
  for (size_t i = 0;; i++) {
    const char *stop = cli_nth(g->a, "stop", i);
    if (!stop) break;
    size_t n = strlen(stop);
    if (n == 0) continue;
    const char *found = memmem(text, size, stop, n);
    if (found && (size_t)(found - text) < limit) {
      limit = (size_t)(found - text);
      *out_stop = true;
    }
    for (size_t k = n - 1; k > 0 && !found; k--) {
      if (k <= size && memcmp(text + size - k, stop, k) == 0) {
        if (size - k < limit) limit = size - k;
        break;
      }
    }
  }
  return limit;
}

static void print_text(generation *g, size_t limit) {
  if (g->a->json || limit <= g->printed) return;
  fwrite(orion_strbuf_text(&g->text) + g->printed, 1, limit - g->printed, stdout);
  fflush(stdout);
  g->printed = limit;
  g->line = true;
}

static orion_status add_text(generation *g, int32_t token, orion_error *err) {
  if (!g->decoder) {
    if (!g->a->json) g->line = printf("%s%d", g->n > g->n_prompt + 1 ? " " : "", token) > 0;
    return ORION_OK;
  }
  const char *bytes;
  size_t size;
  ORION_TRY(orion_token_decoder_push(g->decoder, token, &bytes, &size, err));
  orion_strbuf_add(&g->text, bytes, size);
  bool stop;
  size_t limit = printable(g, &stop);
  print_text(g, limit);
  if (stop) {
    g->text.size = limit;
    g->text.data[limit] = 0;
    g->stopped = true;
  }
  return ORION_OK;
}

static bool is_end(const generation *g, int32_t token) {
  const orion_config *c = &g->m.model->config;
  for (int i = 0; i < c->n_eos; i++) {
    if (c->eos[i] == token) return true;
  }
  return c->n_eos == 0 && g->m.tokenizer && orion_tokenizer_eos(g->m.tokenizer) == token;
}

static orion_status start_text(generation *g, orion_error *err) {
  if (!g->m.tokenizer) return ORION_OK;
  ORION_TRY(orion_token_decoder_create(NULL, g->m.tokenizer, ORION_DECODE_SKIP_SPECIAL, &g->decoder, err));
  const char *bytes;
  size_t size;
  for (size_t i = 0; i < g->n_prompt; i++) ORION_TRY(orion_token_decoder_push(g->decoder, g->tokens[i], &bytes, &size, err));
  const char *prompt = cli_text(g->a, "prompt", NULL);
  if (!g->a->json && prompt) g->line = fputs(prompt, stdout) != EOF;
  fflush(stdout);
  return ORION_OK;
}

// The session, or the speculator before it.
static orion_status feed(generation *g, const int32_t *tokens, size_t n, orion_error *err) {
  return g->speculator ? orion_speculator_feed(g->speculator, tokens, n, err)
                       : orion_session_feed(g->m.session, tokens, n, err);
}

static const float *logits(const generation *g) {
  return g->speculator ? orion_speculator_logits(g->speculator) : orion_session_logits(g->m.session);
}

static orion_status generate(generation *g, int64_t max_new, orion_error *err) {
  double start = orion_now();
  ORION_TRY(feed(g, g->tokens, g->n_prompt, err));
  g->prefill_ms = 1e3 * (orion_now() - start);
  for (size_t i = 0; i < g->n_prompt; i++) orion_sampler_accept(g->sampler, g->tokens[i]);
  start = orion_now();
  int64_t room = orion_session_context(g->m.session) - (int64_t)g->n_prompt + 1;
  for (int64_t i = 0; i < max_new && i < room && !g->stopped; i++) {
    int32_t token;
    ORION_TRY(orion_sampler_choose(g->sampler, logits(g), &token, err));
    if (is_end(g, token) && !cli_flag(g->a, "ignore-eos")) {
      g->stopped = true;
      break;
    }
    orion_sampler_accept(g->sampler, token);
    ORION_TRY(append(g, &token, 1, err));
    ORION_TRY(add_text(g, token, err));
    if (i + 1 == max_new || i + 1 == room || g->stopped) break;  // nobody will ask for the next logits
    ORION_TRY(feed(g, &token, 1, err));
    g->decoded++;
  }
  g->decode_ms = 1e3 * (orion_now() - start);
  if (max_new > room && !g->stopped) {
    cli_warn("context: the model's %lld positions are used up", (long long)orion_session_context(g->m.session));
  }
  return ORION_OK;
}

static void finish_text(generation *g) {
  if (!g->decoder) return;
  const char *bytes;
  size_t size;
  orion_token_decoder_finish(g->decoder, &bytes, &size);
  if (!g->stopped) orion_strbuf_add(&g->text, bytes, size);
  print_text(g, g->text.size);
}

static json_t *text_json(const orion_strbuf *b) {
  json_t *text = json_stringn(orion_strbuf_text(b), b->size);
  return text ? text : json_null();  // bytes that are no UTF-8: a byte-level model may make them
}

static void print_summary(generation *g) {
  orion_device_info device;
  orion_device_describe(g->m.device, &device);
  json_t *tokens = json_array();
  for (size_t i = g->n_prompt; i < g->n; i++) json_array_append_new(tokens, json_integer(g->tokens[i]));
  char name[96];
  snprintf(name, sizeof name, "%s:%s", device.name, device.family);
  orion_session_info info;
  orion_session_describe(g->m.session, &info);
  json_t *summary = json_pack(
      "{s:o, s:o, s:I, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:I, s:I, s:f}", "text", text_json(&g->text), "tokens", tokens,
      "prompt_tokens", (json_int_t)g->n_prompt, "load_ms", g->m.load_ms, "prefill_ms", g->prefill_ms, "decode_ms",
      g->decode_ms, "prefill_tok_s", g->prefill_ms > 0 ? 1e3 * (double)g->n_prompt / g->prefill_ms : 0.0, "decode_tok_s",
      g->decode_ms > 0 ? 1e3 * (double)g->decoded / g->decode_ms : 0.0, "device", name, "target", info.target,
      "runs_per_token", (json_int_t)info.decode_runs, "weight_bytes", (json_int_t)info.weight_bytes, "rss_mb",
      orion_peak_rss_mb());
  if (g->speculator) {
    orion_speculator_info s;
    orion_speculator_describe(g->speculator, &s);
    json_object_set_new(summary, "guessed", json_integer((json_int_t)s.guessed));
    json_object_set_new(summary, "accepted", json_integer((json_int_t)s.accepted));
  }
  cli_sim_report_end(g->a, g->m.device, summary);
  cli_print_json(summary);
}

static orion_status make_sampler(generation *g, orion_error *err) {
  orion_sampler_options o;
  orion_sampler_options_init(&o);
  o.temperature = (float)cli_number(g->a, "temp", 0);
  int64_t top_k = cli_int(g->a, "top-k", 0);
  if (top_k < 0 || top_k > INT32_MAX) return CLI_USAGE(err, "--top-k: %lld is out of range", (long long)top_k);
  o.top_k = (int32_t)top_k;
  o.top_p = (float)cli_number(g->a, "top-p", 1);
  o.min_p = (float)cli_number(g->a, "min-p", 0);
  o.repeat_penalty = (float)cli_number(g->a, "repeat-penalty", 1);
  o.seed = (uint64_t)cli_int(g->a, "seed", 0);
  return orion_sampler_create(NULL, &o, g->m.model->config.vocab, &g->sampler, err);
}

// At most, or 0: not known. No token is shorter than a byte; a tokenizer may spell a space as three bytes and put something in
// front. It may make more of other characters, so texts of ASCII alone are counted. In steps, so that programs kept from other
// runs serve.
static int64_t positions_needed(const cli_args *a, int64_t max_new) {
  enum { STEP = 256, BEFORE = 16 };
  const char *given = cli_text(a, "prompt", cli_text(a, "tokens", NULL));
  if (!given || max_new > INT32_MAX) return 0;
  int64_t most = BEFORE + max_new;
  for (const char *c = given; *c; c++) {
    if ((unsigned char)*c >= 0x80) return 0;
    most += *c == ' ' ? 3 : 1;
  }
  return (most + STEP - 1) / STEP * STEP;
}

static orion_status run(const cli_args *a, orion_error *err) {
  int sources = cli_flag(a, "prompt") + cli_flag(a, "file") + cli_flag(a, "tokens");
  if (sources != 1) return CLI_USAGE(err, "infer: give one of -p TEXT, -f FILE and --tokens IDS");
  int64_t max_new = cli_int(a, "new", 128);
  if (max_new < 0) return CLI_USAGE(err, "-n: %lld is negative", (long long)max_new);
  int64_t guesses = cli_int(a, "speculate", 0);
  if (guesses < 0 || guesses > ORION_SPECULATE_MOST) {
    return CLI_USAGE(err, "--speculate: %lld (want 0 to %d)", (long long)guesses, ORION_SPECULATE_MOST);
  }
  generation g = {.a = a};
  orion_strbuf_init(&g.text, NULL);
  orion_status status = text_model_open(a, !cli_flag(a, "tokens"), positions_needed(a, max_new), &g.m, err);
  if (status == ORION_OK) status = make_sampler(&g, err);
  if (status == ORION_OK && guesses) status = orion_speculator_create(g.m.session, (int)guesses, &g.speculator, err);
  if (status == ORION_OK) status = read_prompt(&g, err);
  if (status == ORION_OK) status = start_text(&g, err);
  if (status == ORION_OK) status = generate(&g, max_new, err);
  if (status == ORION_OK) {
    finish_text(&g);
    if (a->json) {
      print_summary(&g);
    } else {
      putchar('\n');
      cli_sim_report_end(a, g.m.device, NULL);
      if (cli_progress_wanted(a)) {
        fprintf(stderr, "%zu + %zu tokens; load %.0f ms, prompt %.0f ms, %.1f tokens/s\n", g.n_prompt, g.n - g.n_prompt,
                g.m.load_ms, g.prefill_ms, g.decode_ms > 0 ? 1e3 * (double)g.decoded / g.decode_ms : 0.0);
      }
    }
  } else if (g.line) {
    putchar('\n');
  }
  orion_token_decoder_destroy(g.decoder);
  orion_sampler_destroy(g.sampler);
  orion_speculator_destroy(g.speculator);
  orion_strbuf_deinit(&g.text);
  orion_free(NULL, g.tokens, g.cap, sizeof *g.tokens);
  text_model_close(&g.m);
  return status;
}

const cli_command cli_command_infer = {
    "infer", "-m MODEL -p TEXT", "Generate text with a model.",
    "orion infer -m stories260K.bin --tokenizer tok512.bin -p \"Once upon a time\" -n 100", options, 0, 0, run};
