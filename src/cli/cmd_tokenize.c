// orion tokenize: text to ids and back, token files for training, and vocabularies learnt from text.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "orion/tokenizer.h"
#include "train/tokens_impl.h"

static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, "MODEL", "directory with a tokenizer, or a tokenizer file", false},
    {"tokenizer", 0, CLI_TEXT, "PATH", "the same, by its own name", false},
    {"file", 'f', CLI_TEXT, "FILE", "text from a file (- for standard input)", false},
    {"decode", 0, CLI_TEXT, "IDS", "print the text of ids 1,2,3", false},
    {"bos", 0, CLI_FLAG, NULL, "begin token first", false},
    {"documents", 0, CLI_FLAG, NULL, "as training data: <|endoftext|> ends a document (needs -f FILE)", false},
    {"no-special", 0, CLI_FLAG, NULL, "special tokens in the text are plain text", false},
    {"to", 0, CLI_TEXT, "FILE.bin", "write the ids as little-endian uint16 (uint32 above 65,536 tokens)", false},
    {"learn", 0, CLI_INT, "N", "learn a byte-level BPE vocabulary of N tokens from the text; --to DIR takes it", false},
    {0},
};

static orion_status decode(const cli_args *a, const orion_tokenizer *t, const char *list, orion_error *err) {
  static const char *const others[] = {"file", "bos", "documents", "no-special", "to", NULL};
  int32_t *ids;
  size_t n, size;
  char *text;
  if (a->n_rest) return CLI_USAGE(err, "tokenize: give a text or --decode IDS, not both");
  ORION_TRY(cli_refuse(a, others, "not with --decode, which prints a text", err));
  ORION_TRY(cli_parse_ids(list, "--decode", &ids, &n, err));
  orion_status status = orion_token_decode(NULL, t, ids, n, 0, &text, &size, err);
  orion_free(NULL, ids, n, sizeof *ids);
  if (status != ORION_OK) return status;
  if (a->json) {
    json_t *value = json_stringn(text, size);
    cli_print_json(json_pack("{s:o}", "text", value ? value : json_null()));
  } else {
    fwrite(text, 1, size, stdout);
    putchar('\n');
  }
  orion_token_text_free(NULL, text, size);
  return ORION_OK;
}

static orion_status write_file(const char *path, const int32_t *ids, size_t n, int32_t vocab, orion_error *err) {
  size_t width = (size_t)orion_token_width(vocab);
  orion_file_writer *w;
  ORION_TRY(orion_file_writer_open(NULL, path, &w, err));
  orion_status status = ORION_OK;
  uint8_t block[8192];
  for (size_t at = 0; status == ORION_OK && at < n;) {
    size_t used = 0;
    for (; used + width <= sizeof block && at < n; at++, used += width) {
      for (size_t b = 0; b < width; b++) block[used + b] = (uint8_t)((uint32_t)ids[at] >> (8 * b));
    }
    status = orion_file_writer_put(w, block, used, err);
  }
  if (status == ORION_OK) return orion_file_writer_commit(w, err);
  orion_file_writer_abort(w);
  return status;
}

static void print_ids(const cli_args *a, const int32_t *ids, size_t n) {
  if (a->json) fputs("{\"tokens\":", stdout);
  putchar('[');
  for (size_t i = 0; i < n; i++) printf("%s%d", i ? a->json ? "," : ", " : "", ids[i]);
  printf(a->json ? "]}\n" : "]\n");
}

static orion_status give(const cli_args *a, const orion_tokenizer *t, const int32_t *ids, size_t n, orion_error *err) {
  const char *to = cli_text(a, "to", NULL);
  if (!to) {
    print_ids(a, ids, n);
    return ORION_OK;
  }
  ORION_TRY(write_file(to, ids, n, orion_tokenizer_vocab_size(t), err));
  if (a->json) cli_print_json(json_pack("{s:I, s:o}", "count", (json_int_t)n, "file", cli_json_text(to)));
  if (!a->json) printf("%zu tokens\n", n);
  return ORION_OK;
}

// What training makes of a text (train/tokens.h): each document begins with the begin token, or ends with the separator.
static orion_status encode_documents(const cli_args *a, const orion_tokenizer *t, orion_error *err) {
  const char *path = cli_text(a, "file", NULL);
  if (!path || a->n_rest) return CLI_USAGE(err, "tokenize: --documents wants -f FILE");
  orion_token_file file = {0};
  orion_status status = orion_token_file_encode(orion_allocator_or_default(NULL), path, t, &file, err);
  if (status == ORION_OK) status = give(a, t, file.ids, (size_t)file.n, err);
  orion_free(NULL, file.ids, file.cap_ids, sizeof *file.ids);
  return status;
}

static orion_status encode(const cli_args *a, const orion_tokenizer *t, orion_error *err) {
  char *text = NULL;
  size_t size;
  const char *given = a->n_rest ? a->rest[0] : NULL;
  if (given && cli_flag(a, "file")) return CLI_USAGE(err, "tokenize: give a text or -f FILE, not both");
  if (given) {
    size = strlen(given);
  } else {
    ORION_TRY(cli_read_text(cli_text(a, "file", "-"), &text, &size, err));
  }
  unsigned flags = (cli_flag(a, "no-special") ? 0 : ORION_ENCODE_SPECIAL) | (cli_flag(a, "bos") ? ORION_ENCODE_BOS : 0);
  orion_token_encoder *encoder = NULL;
  const int32_t *ids;
  size_t n = 0;
  orion_status status = orion_token_encoder_create(NULL, t, &encoder, err);
  if (status == ORION_OK) status = orion_token_encode(encoder, text ? text : given, size, flags, &ids, &n, err);
  if (status == ORION_OK) status = give(a, t, ids, n, err);
  orion_token_encoder_destroy(encoder);
  if (text) orion_free(NULL, text, size + 1, 1);
  return status;
}

// A model's vocabulary must not be lost, and beside a tokenizer.json a new one would not be found.
static orion_status refuse_other_tokenizer(const char *dir, orion_error *err) {
  static const char *const strange[] = {"config.json", "tokenizer.json", "tokenizer.model", "tokenizer.bin"};
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < sizeof strange / sizeof *strange; i++) {
    char *path;
    ORION_TRY(cli_path(&path, err, "%s/%s", dir, strange[i]));
    if (orion_file_exists(path)) status = CLI_USAGE(err, "%s: belongs to something else (give --to a new directory)", path);
    orion_strfree(NULL, path);
  }
  return status;
}

// vocab.json and merges.txt of what -f or standard input says.
static orion_status learn(const cli_args *a, orion_error *err) {
  static const char *const others[] = {"model", "tokenizer", "decode", "bos", "documents", "no-special", NULL};
  const char *dir = cli_text(a, "to", NULL);
  int64_t n = cli_int(a, "learn", 0);
  ORION_TRY(cli_refuse(a, others, "not with --learn, which makes a vocabulary of its own", err));
  if (!dir) return CLI_USAGE(err, "tokenize: --learn N wants --to DIR for the vocabulary");
  if (a->n_rest) return CLI_USAGE(err, "tokenize: --learn N wants -f FILE with the text to learn from");
  if (n < 257 || n > INT32_MAX) return CLI_USAGE(err, "tokenize: --learn %lld (want 257 to %d)", (long long)n, INT32_MAX);
  ORION_TRY(refuse_other_tokenizer(dir, err));
  char *text;
  size_t size;
  int32_t vocab;
  ORION_TRY(cli_read_text(cli_text(a, "file", "-"), &text, &size, err));
  orion_status status = orion_tokenizer_learn(NULL, text, size, (int32_t)n, dir, &vocab, err);
  orion_free(NULL, text, size + 1, 1);
  if (status != ORION_OK) return status;
  if (a->json) cli_print_json(json_pack("{s:i, s:o}", "vocab", (int)vocab, "dir", cli_json_text(dir)));
  if (!a->json) printf("%d tokens\n", vocab);
  return ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  if (cli_flag(a, "learn")) return learn(a, err);
  const char *path = cli_text(a, "tokenizer", cli_text(a, "model", NULL)), *ids = cli_text(a, "decode", NULL);
  if (!path) return CLI_USAGE(err, "tokenize: -m MODEL is missing");
  orion_tokenizer *t;
  ORION_TRY(orion_tokenizer_open(NULL, path, NULL, &t, err));
  orion_status status = ids                           ? decode(a, t, ids, err)
                        : cli_flag(a, "documents") ? encode_documents(a, t, err)
                                                   : encode(a, t, err);
  orion_tokenizer_close(t);
  return status;
}

const cli_command cli_command_tokenize = {
    "tokenize", "-m MODEL [TEXT]|--learn N -f FILE --to DIR", "Turn text into token ids, or ids into text; learn a vocabulary.",
    "orion tokenize -m gpt2 \"Hello, world\"", options, 0, 1, run};
