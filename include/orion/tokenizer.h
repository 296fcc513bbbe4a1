/// Text to token ids and back: byte-level BPE, SentencePiece (BPE and unigram) and Hugging Face's tokenizer.json.
///
/// An open tokenizer never changes, so any number of threads may read it. Each thread encodes through an encoder and
/// decodes through a decoder of its own; those hold the scratch memory and are made once, not per call.
#ifndef ORION_TOKENIZER_H
#define ORION_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_tokenizer orion_tokenizer;
typedef struct orion_token_encoder orion_token_encoder;
typedef struct orion_token_decoder orion_token_decoder;

/// What a tokenizer file is.
typedef enum orion_tokenizer_format {
  ORION_TOKENIZER_AUTO = 0,       ///< by name, then by content
  ORION_TOKENIZER_JSON,           ///< Hugging Face tokenizer.json
  ORION_TOKENIZER_VOCAB_MERGES,   ///< vocab.json + merges.txt, or encoder.json + vocab.bpe
  ORION_TOKENIZER_SENTENCEPIECE,  ///< SentencePiece .model
  ORION_TOKENIZER_LLAMA2C,        ///< llama2.c tokenizer.bin
} orion_tokenizer_format;

/// How vocab.json + merges.txt, which do not say, cut text before merging. Automatic: the Llama-3 pattern for a
/// vocabulary of 100,000 tokens or more that has no token of a space and a digit (which that pattern cannot make), the
/// GPT-2 pattern otherwise.
typedef enum orion_token_pattern {
  ORION_TOKEN_PATTERN_AUTO = 0,
  ORION_TOKEN_PATTERN_GPT2,
  ORION_TOKEN_PATTERN_LLAMA3,
} orion_token_pattern;

typedef struct orion_tokenizer_options {
  size_t struct_size;             ///< sizeof(orion_tokenizer_options)
  orion_tokenizer_format format;
  orion_token_pattern pattern;    ///< for ORION_TOKENIZER_VOCAB_MERGES
  int32_t vocab_size;             ///< for ORION_TOKENIZER_LLAMA2C: tokens to read; 0 = to the end of the file
} orion_tokenizer_options;

/// Opens a tokenizer from a directory (tokenizer.json, else tokenizer.model, else vocab.json + merges.txt, else
/// encoder.json + vocab.bpe, else tokenizer.bin) or from one of these files; the partner of a vocabulary or merges file
/// is looked for beside it, and so is tokenizer_config.json, which names the begin and end tokens.
/// `options` may be NULL. Close with orion_tokenizer_close. Fails with ORION_NOT_FOUND, ORION_FORMAT (malformed),
/// ORION_UNSUPPORTED (well-formed, but of a kind that is not built), ORION_LIMIT, ORION_NO_MEMORY, ORION_IO.
ORION_API orion_status orion_tokenizer_open(const orion_allocator *allocator, const char *path,
                                            const orion_tokenizer_options *options, orion_tokenizer **out_tokenizer,
                                            orion_error *err);

/// The same from memory; the bytes are not needed afterwards. `merges` is NULL unless options->format is
/// ORION_TOKENIZER_VOCAB_MERGES. `name` stands for the file in messages.
ORION_API orion_status orion_tokenizer_open_memory(const orion_allocator *allocator, const char *name,
                                                   const void *data, size_t size, const void *merges,
                                                   size_t merges_size, const orion_tokenizer_options *options,
                                                   orion_tokenizer **out_tokenizer, orion_error *err);

/// NULL is ignored. Encoders and decoders of the tokenizer must be gone.
ORION_API void orion_tokenizer_close(orion_tokenizer *tokenizer);

/// Highest token id + 1. Ids below it may be unused (orion_tokenizer_token says so).
ORION_API int32_t orion_tokenizer_vocab_size(const orion_tokenizer *tokenizer);

/// Kind in words, e.g. "byte-level BPE". Static string.
ORION_API const char *orion_tokenizer_kind(const orion_tokenizer *tokenizer);

/// A token as its file spells it ("\u0120the", "\u2581the", "<0x0A>"); not terminated, lives as long as the tokenizer.
/// False when the id is unused.
ORION_API bool orion_tokenizer_token(const orion_tokenizer *tokenizer, int32_t id, const char **out_text,
                                     size_t *out_size);

/// The id of a token in the spelling of its file; -1 when there is none.
ORION_API int32_t orion_tokenizer_token_id(const orion_tokenizer *tokenizer, const char *text, size_t size);

/// The bytes that a token adds to the text: " the" for "\u0120the", one byte for "<0x0A>". Special tokens give their
/// spelling. Not terminated, lives as long as the tokenizer. False when the id is unused.
ORION_API bool orion_tokenizer_token_bytes(const orion_tokenizer *tokenizer, int32_t id, const char **out_bytes,
                                           size_t *out_size);

/// Begin and end tokens; -1 when the files name none.
ORION_API int32_t orion_tokenizer_bos(const orion_tokenizer *tokenizer);
ORION_API int32_t orion_tokenizer_eos(const orion_tokenizer *tokenizer);

/// Whether the model expects the begin token (or the end token) around a text, as far as the files say.
ORION_API bool orion_tokenizer_adds_bos(const orion_tokenizer *tokenizer);
ORION_API bool orion_tokenizer_adds_eos(const orion_tokenizer *tokenizer);

/// Special tokens steer the model (begin, end, roles): they are no text of their own.
ORION_API bool orion_tokenizer_is_special(const orion_tokenizer *tokenizer, int32_t id);

/// Options of encoding, a set of bits.
enum {
  ORION_ENCODE_BOS = 1,      ///< begin token first, where the tokenizer has one
  ORION_ENCODE_EOS = 2,      ///< end token last, where the tokenizer has one
  ORION_ENCODE_SPECIAL = 4,  ///< the spelling of a special token in the text is that token; else it is plain text
  ORION_ENCODE_APPEND = 8,   ///< keep the ids of the calls before in front
};

/// The encoder borrows the tokenizer. Destroy ignores NULL.
ORION_API orion_status orion_token_encoder_create(const orion_allocator *allocator, const orion_tokenizer *tokenizer,
                                                  orion_token_encoder **out_encoder, orion_error *err);
ORION_API void orion_token_encoder_destroy(orion_token_encoder *encoder);

/// Encodes `size` bytes, which may hold anything: zeros and invalid UTF-8 too. The ids stay valid until the next call
/// on the encoder. On failure the list holds what it held before the call. Fails with ORION_UNSUPPORTED (the vocabulary
/// has no token for a byte and no token for the unknown), ORION_LIMIT (2^31 bytes or more in one stretch; a pattern that
/// gives up), ORION_NO_MEMORY.
ORION_API orion_status orion_token_encode(orion_token_encoder *encoder, const char *text, size_t size, unsigned flags,
                                          const int32_t **out_ids, size_t *out_count, orion_error *err);

/// Options of decoding.
enum {
  ORION_DECODE_SKIP_SPECIAL = 1,  ///< special tokens give no text
};

/// The decoder borrows the tokenizer. Destroy ignores NULL.
ORION_API orion_status orion_token_decoder_create(const orion_allocator *allocator, const orion_tokenizer *tokenizer,
                                                  unsigned flags, orion_token_decoder **out_decoder, orion_error *err);
ORION_API void orion_token_decoder_destroy(orion_token_decoder *decoder);

/// Takes the next token and hands out the bytes that are now certain, never a part of a UTF-8 character that may still
/// become whole. The bytes (not terminated) stay valid until the next call. To continue a prompt, push the prompt first
/// and drop its text. Fails with ORION_INVALID for an id that is no token.
ORION_API orion_status orion_token_decoder_push(orion_token_decoder *decoder, int32_t id, const char **out_bytes,
                                                size_t *out_size, orion_error *err);

/// Hands out what was held back and makes the decoder ready for another text.
ORION_API void orion_token_decoder_finish(orion_token_decoder *decoder, const char **out_bytes, size_t *out_size);

/// Decodes at once; the text is terminated (it may hold zeros of its own). Free with orion_token_text_free.
ORION_API orion_status orion_token_decode(const orion_allocator *allocator, const orion_tokenizer *tokenizer,
                                          const int32_t *ids, size_t count, unsigned flags, char **out_text,
                                          size_t *out_size, orion_error *err);
ORION_API void orion_token_text_free(const orion_allocator *allocator, char *text, size_t size);

/// Learns a byte-level BPE vocabulary of at most `vocab_size` tokens (257 and up) from `size` bytes of UTF-8 and writes
/// vocab.json, merges.txt and tokenizer_config.json into the directory `dir`, which it makes. Id 0 is "<|endoftext|>",
/// which parts documents in the text; then come the 256 bytes, then merges; fewer than asked where no pair is left that
/// occurs twice. Pieces are cut by GPT-2's pattern. The same text always gives the same files. `out_vocab_size` may be
/// NULL. Fails with ORION_INVALID (vocab_size), ORION_FORMAT (no UTF-8), ORION_IO, ORION_NO_MEMORY.
ORION_API orion_status orion_tokenizer_learn(const orion_allocator *allocator, const char *text, size_t size,
                                             int32_t vocab_size, const char *dir, int32_t *out_vocab_size,
                                             orion_error *err);

#ifdef __cplusplus
}
#endif
#endif
