// orion demo-model: a small model with random weights and a tokenizer of its own, so that a fresh clone has something to
// run. It knows the letters and some words; what it writes is noise.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/strbuf.h"
#include "cli/commands.h"
#include "model/model.h"

static const cli_option options[] = {
    {"seed", 0, CLI_INT, "N", "of the random weights; default 1", false},
    {0},
};

static const char *const words[] = {
    "Once", "upon", "a", "the", "time", "there", "was", "little", "girl", "boy", "named", "Lily", "Tom", "and", "she", "he",
    "they", "had", "big", "red", "ball", "dog", "cat", "bird", "tree", "house", "garden", "park", "to", "in", "on", "with",
    "of", "her", "his", "loved", "liked", "wanted", "found", "saw", "said", "played", "ran", "jumped", "laughed", "smiled",
    "went", "came", "home", "day", "night", "sun", "moon", "star", "rain", "happy", "sad", "very", "so", "but", "then",
    "friend", "friends", "mother", "father", "good", "new", "old", "blue", "green", "small", "box", "book", "story", "who",
    "what", "all", "one", "two", "three", "it", "is", "not", "could", "would", "up", "down", "away", "back", "again", "end",
};
enum { N_WORDS = sizeof words / sizeof *words, FIRST_PRINTABLE = 33, N_PRINTABLE = 126 - 33 + 1 };

// Ids: end token, line feed, space, printable ASCII, then the words behind a space. In the byte-level spelling a space
// is U+0120 and a line feed U+010A; the others are themselves.
static orion_status make_tokenizer(orion_strbuf *b, int *out_vocab, orion_error *err) {
  int id = 1;
  orion_strbuf_adds(b, "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 0, \"content\": \"<|end|>\", \"special\": true}],\n"
                       "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true},\n"
                       "\"decoder\": {\"type\": \"ByteLevel\"},\n"
                       "\"model\": {\"type\": \"BPE\", \"ignore_merges\": true, \"merges\": [], \"vocab\": {\"<|end|>\": 0");
  orion_strbuf_addf(b, ", \"\\u010a\": %d", id++);
  orion_strbuf_addf(b, ", \"\\u0120\": %d", id++);
  for (int c = FIRST_PRINTABLE; c < FIRST_PRINTABLE + N_PRINTABLE; c++) {
    orion_strbuf_addf(b, ", \"%s%c\": %d", c == '"' || c == '\\' ? "\\" : "", c, id++);
  }
  for (int i = 0; i < N_WORDS; i++) {
    if (strlen(words[i]) > 1) orion_strbuf_addf(b, ", \"%s\": %d", words[i], id++);
    orion_strbuf_addf(b, ", \"\\u0120%s\": %d", words[i], id++);
  }
  orion_strbuf_adds(b, "}}}\n");
  *out_vocab = id;
  return orion_strbuf_status(b, err);
}

// A model that is there must not be lost; one that this command made has the same tokenizer, and may.
static orion_status refuse_other_model(const char *dir, const orion_strbuf *tokenizer, orion_error *err) {
  char *config, *own;
  ORION_TRY(cli_path(&config, err, "%s/config.json", dir));
  orion_status status = cli_path(&own, err, "%s/tokenizer.json", dir);
  if (status == ORION_OK && orion_file_exists(config)) {
    orion_file_map map = {0};
    bool same = orion_file_open_map(own, &map, NULL) == ORION_OK && map.size == tokenizer->size &&
                memcmp(map.data, tokenizer->data, map.size) == 0;
    orion_file_close_map(&map);
    if (!same) status = CLI_USAGE(err, "%s: holds another model (give a new directory)", dir);
  }
  orion_strfree(NULL, own);
  orion_strfree(NULL, config);
  return status;
}

static orion_status write_model(const char *dir, int vocab, uint64_t seed, orion_error *err) {
  orion_config c = {.family = ORION_FAMILY_LLAMA, .model_type = "llama", .vocab = vocab, .context = 256, .dim = 96,
                    .hidden = 256, .layers = 4, .heads = 6, .kv_heads = 2, .head_dim = 16, .norm_eps = 1e-5, .rope = true,
                    .rope_theta = 10000, .rope_scaling = {.linear = 1}, .tied = true, .gated = true,
                    .activation = ORION_ACT_SILU, .bos = 0, .eos = {0}, .n_eos = 1};
  orion_model *m;
  ORION_TRY(orion_model_random(NULL, &c, seed, &m, err));
  orion_status status = orion_model_save(m, dir, ORION_FP16, err);
  orion_model_close(m);
  return status;
}

static orion_status run(const cli_args *a, orion_error *err) {
  const char *dir = a->rest[0];
  orion_strbuf tokenizer;
  orion_strbuf_init(&tokenizer, NULL);
  int vocab = 0;
  orion_status status = make_tokenizer(&tokenizer, &vocab, err);
  if (status == ORION_OK) status = refuse_other_model(dir, &tokenizer, err);
  if (status == ORION_OK) status = orion_dir_make(dir, err);
  if (status == ORION_OK) status = write_model(dir, vocab, (uint64_t)cli_int(a, "seed", 1), err);
  char *path = orion_path_join(NULL, dir, "tokenizer.json");
  if (status == ORION_OK) {
    status = path ? orion_file_write(NULL, path, tokenizer.data, tokenizer.size, err) : ORION_OOM(err, dir);
  }
  orion_strfree(NULL, path);
  orion_strbuf_deinit(&tokenizer);
  if (status != ORION_OK) return status;
  if (a->json) {
    cli_print_json(json_pack("{s:o, s:i}", "dir", cli_json_text(dir), "vocab", vocab));
  } else {
    printf("%s: a Llama model of random weights, vocabulary %d\n", dir, vocab);
  }
  return ORION_OK;
}

const cli_command cli_command_demo_model = {
    "demo-model", "DIR", "Make a small model of random weights to try things on.", "orion demo-model demo", options, 1, 1, run};
