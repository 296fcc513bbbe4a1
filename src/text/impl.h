// What an open tokenizer is made of. Private to the room.
//
//   text ── added tokens cut out ──> stretches ── normalise ──> stretches ── cut (pretokenise) ──> pieces
//        ── merge or Viterbi, by way of a cache ──> ids
//
// Loaders (load_*.c) fill these fields and call orion_tokenizer_finish; afterwards nothing changes any more.
#ifndef ORION_TEXT_IMPL_H
#define ORION_TEXT_IMPL_H

#include "base/strbuf.h"
#include "orion/tokenizer.h"
#include "text/merges.h"
#include "text/regex.h"
#include "text/vocab.h"

enum {
  ORION_TEXT_MAX_STEPS = 32,       // normalizers, or pretokenizers, of one tokenizer
  ORION_TEXT_MAX_PIECE = 512,      // bytes of a SentencePiece piece: its loading is quadratic in this
  ORION_TEXT_MAX_ADDED = 1024,     // bytes of an added token
  ORION_TEXT_MAX_AFFIX = 8,        // tokens that a template puts before or after a text
};

// Empties a scratch text for use anew, also after it once failed to grow.
static inline void orion_text_restart(orion_strbuf *b) {
  orion_strbuf_clear(b);
  b->failed = false;
}

// ---- text to text
typedef enum orion_normalize_kind {
  ORION_NORMALIZE_NFC,
  ORION_NORMALIZE_NFD,
  ORION_NORMALIZE_NFKC,
  ORION_NORMALIZE_NFKD,
  ORION_NORMALIZE_LOWERCASE,
  ORION_NORMALIZE_STRIP_ACCENTS,
  ORION_NORMALIZE_STRIP,       // white space at the ends: left, right
  ORION_NORMALIZE_PREPEND,     // text, unless empty
  ORION_NORMALIZE_REPLACE,     // pattern -> text
  ORION_NORMALIZE_SPACES,      // SentencePiece: remove leading and trailing spaces, make runs of them one
} orion_normalize_kind;

typedef struct orion_normalize_step {
  orion_normalize_kind kind;
  bool left, right;
  orion_regex *pattern;
  char *text;
} orion_normalize_step;

// ---- where to cut
typedef enum orion_split_behavior {
  ORION_SPLIT_REMOVED,
  ORION_SPLIT_ISOLATED,
  ORION_SPLIT_MERGED_WITH_PREVIOUS,
  ORION_SPLIT_MERGED_WITH_NEXT,
  ORION_SPLIT_CONTIGUOUS,
} orion_split_behavior;

typedef enum orion_cut_kind {
  ORION_CUT_SPLIT,         // by pattern
  ORION_CUT_PREFIX_SPACE,  // a space in front of a piece that has none
  ORION_CUT_METASPACE,     // spaces become `text`; `text` in front by `prepend`
} orion_cut_kind;

typedef enum orion_prepend {
  ORION_PREPEND_NEVER,
  ORION_PREPEND_FIRST,   // only where the text begins
  ORION_PREPEND_ALWAYS,  // every stretch between added tokens
} orion_prepend;

typedef struct orion_cut_step {
  orion_cut_kind kind;
  orion_split_behavior behavior;
  bool invert;
  orion_prepend prepend;
  orion_regex *pattern;
  char *text;
} orion_cut_step;

// ---- added tokens: a trie over bytes, children as a list
typedef struct orion_added_node {
  uint32_t child, sibling;  // 0: none (the root is nobody's child)
  int32_t token;            // index into added[], -1: none ends here
  uint8_t byte;
} orion_added_node;

typedef struct orion_added_token {
  int32_t id;
  bool special, lstrip, rstrip, single_word;
  bool normalized;  // looked for after normalising, in its own normalised spelling
  bool verbatim;    // with `normalized`: the spelling is normalised already (SentencePiece)
} orion_added_token;

typedef struct orion_added_trie {
  orion_added_node *nodes;
  size_t count, cap;
  uint8_t first[256];  // some token begins with this byte
} orion_added_trie;

// ---- ids to bytes
typedef enum orion_decode_kind {
  ORION_DECODE_ALPHABET,       // GPT-2's byte alphabet
  ORION_DECODE_BYTE_FALLBACK,  // "<0x0A>" is a byte
  ORION_DECODE_REPLACE,        // pattern (literal) -> text
  ORION_DECODE_STRIP,          // up to start (stop) times `pattern` off the ends of every token
} orion_decode_kind;

typedef struct orion_decode_step {
  orion_decode_kind kind;
  char *pattern, *text;
  size_t start, stop;
} orion_decode_step;

struct orion_tokenizer {
  const orion_allocator *allocator;
  const char *kind;
  orion_vocab vocab;

  orion_normalize_step normalize[ORION_TEXT_MAX_STEPS];
  size_t normalize_count;
  orion_cut_step cut[ORION_TEXT_MAX_STEPS];
  size_t cut_count;
  orion_added_token *added;
  size_t added_count, added_cap;
  orion_added_trie raw_trie, normalized_trie;

  // The model. Merging unless unigram.
  orion_merges merges;
  bool byte_level;      // pieces are bytes in the alphabet; else characters
  bool byte_fallback;   // an unknown character is written as "<0xNN>" tokens
  bool ignore_merges;   // a piece that is a token is that token
  bool fuse_unknown;    // neighbouring unknown characters give one token
  bool unigram;
  int32_t unknown;      // -1: none
  int32_t byte_ids[256];      // byte_level: symbol of a byte; else its "<0xNN>" token; -1: none
  orion_vocab loose;    // characters that are no token but a part of one; their symbols follow the vocabulary's ids
  uint8_t joined[256][32];  // bit y of row x: some token has a character ending x before one beginning y
  float *scores;        // unigram: [vocab.size]
  float unknown_score;
  size_t longest;       // bytes of the longest plain token's spelling

  // Begin and end.
  int32_t bos, eos;
  int32_t prefix[ORION_TEXT_MAX_AFFIX], suffix[ORION_TEXT_MAX_AFFIX];
  size_t prefix_count, suffix_count;
  bool adds_bos, adds_eos;

  // Decoding: steps per token, done once; then what is stripped off the beginning of the whole.
  orion_decode_step decode[ORION_TEXT_MAX_STEPS];
  size_t decode_count;
  char strip[8];        // the character, terminated
  size_t strip_count;
  char *decoded;        // bytes of all tokens
  size_t decoded_size, decoded_cap;
  orion_token_span *decoded_spans;  // [vocab.size]
};

// Loaders. `t` is zeroed but for the allocator and -1 where no token is; the caller destroys it on failure.
orion_status orion_load_tokenizer_json(orion_tokenizer *t, const char *name, const char *data, size_t size,
                                       orion_error *err);
orion_status orion_load_vocab_merges(orion_tokenizer *t, const char *name, const char *vocab, size_t vocab_size,
                                     const char *merges_name, const char *merges, size_t merges_size,
                                     orion_token_pattern pattern, orion_error *err);
orion_status orion_load_sentencepiece(orion_tokenizer *t, const char *name, const uint8_t *data, size_t size,
                                      orion_error *err);
orion_status orion_load_llama2c(orion_tokenizer *t, const char *name, const uint8_t *data, size_t size,
                                int32_t vocab_size, orion_error *err);

// bos_token, eos_token, add_bos_token, add_eos_token of a tokenizer_config.json.
orion_status orion_load_tokenizer_config(orion_tokenizer *t, const char *name, const char *data, size_t size,
                                         orion_error *err);

// Steps, appended. The texts are copied.
orion_status orion_add_normalize(orion_tokenizer *t, orion_normalize_kind kind, const char *text, const char *name,
                                 orion_normalize_step **out, orion_error *err);
orion_status orion_add_cut_split(orion_tokenizer *t, const char *pattern, size_t n, bool literal,
                                 orion_split_behavior behavior, bool invert, const char *name, orion_error *err);
orion_status orion_add_cut_text(orion_tokenizer *t, orion_cut_kind kind, const char *text, orion_prepend prepend,
                                const char *name, orion_error *err);
orion_status orion_add_decode(orion_tokenizer *t, orion_decode_kind kind, const char *pattern, const char *text,
                              size_t start, size_t stop, const char *name, orion_error *err);
orion_status orion_add_added(orion_tokenizer *t, orion_added_token token, const char *name, orion_error *err);

// The pattern of GPT-2 (also ByteLevel's own) and that of Llama 3.
extern const char orion_pattern_gpt2[];
extern const char orion_pattern_llama3[];

// Last step of loading: byte tokens, safe cuts, added tokens, decoded bytes.
orion_status orion_tokenizer_finish(orion_tokenizer *t, const char *name, orion_error *err);
orion_status orion_decode_prepare(orion_tokenizer *t, const char *name, orion_error *err);
orion_status orion_added_prepare(orion_tokenizer *t, const char *name, orion_error *err);

// SentencePiece BPE: every way to make a plain piece of two smaller ones becomes a merge, ranked by score.
orion_status orion_merges_from_scores(orion_tokenizer *t, const float *scores, const char *name, orion_error *err);

// One normalising pass over a text, in.size bytes to `out` (cleared first).
orion_status orion_normalize_apply(const orion_normalize_step *step, orion_regex_scratch *s, const char *text, size_t n,
                                   orion_strbuf *out, orion_error *err);

// Longest token of the trie that begins at p, as an index into t->added; -1: none. *out_n: its bytes.
int32_t orion_added_match(const orion_tokenizer *t, const orion_added_trie *trie, bool special, const uint8_t *p,
                          size_t n, size_t *out_n);

// Scratch of one encoder. The cache holds what short pieces came to: words repeat.
typedef struct orion_piece_entry {
  uint8_t size, count;  // size 0: empty
  uint8_t text[22];
  int32_t ids[10];
} orion_piece_entry;

// The best way to reach a place in the text (unigram).
typedef struct orion_unigram_node {
  float score;
  int32_t id;      // token that ends here; -1: an unknown character
  uint32_t begin;  // where it begins
} orion_unigram_node;

struct orion_token_encoder {
  const orion_allocator *allocator;
  const orion_tokenizer *tokenizer;
  int32_t *ids;
  size_t count, cap;
  bool last_unknown;  // the last id of this piece is the unknown token
  bool saw_unknown;   // since the chunk began
  orion_merge_work work;
  orion_unigram_node *nodes;
  size_t nodes_cap;
  orion_regex_scratch *regex;
  orion_piece_entry *cache;
  orion_strbuf normal[2];  // texts under normalisation, in turns
  orion_strbuf shadow;     // well-formed stand-in of a malformed text
  uint8_t *spelling;       // a piece in the byte alphabet
  size_t spelling_cap;
  struct {
    orion_strbuf text, raw;
  } rewritten[ORION_TEXT_MAX_STEPS];  // by cut step
};

orion_status orion_encoder_emit(orion_token_encoder *e, int32_t id, orion_error *err);
orion_status orion_encoder_emit_unknown(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err);

// Best segmentation of a chunk (unigram).
orion_status orion_unigram_encode(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err);

#endif
