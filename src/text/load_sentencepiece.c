// SentencePiece's .model: a protocol buffer, ModelProto. Only what encoding needs is read; every length is checked
// against what is left, and fields that are not known are skipped.
//
//   1 pieces*: 1 text, 2 score (float), 3 type        2 trainer_spec: 3 model_type, 24 treat_whitespace_as_suffix,
//   3 normalizer_spec: 1 name, 2 charsmap,              35 byte_fallback, 40 unk_id, 41 bos_id, 42 eos_id
//     3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces
#include <math.h>

#include "base/half.h"
#include "text/impl.h"

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED, PIECE_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

#define SPACE "\xe2\x96\x81"  // U+2581

// A message under reading: bytes [at, end) of the file.
typedef struct reader {
  const char *name;
  const uint8_t *data;
  size_t at, end;
} reader;

typedef struct field {
  uint32_t number, wire;
  uint64_t value;      // wire 0, and 5 as bits
  size_t begin, size;  // wire 2: bytes of the file
} field;

typedef struct model {
  orion_tokenizer *t;
  float *scores;
  size_t scores_cap;
  int32_t count;
  int64_t type, unk, bos, eos;
  bool byte_fallback, suffix, dummy_prefix, squeeze, escape, user_defined, unused;
} model;

static orion_status read_varint(reader *r, uint64_t *out, orion_error *err) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (r->at >= r->end) break;
    uint8_t b = r->data[r->at++];
    value |= (uint64_t)(b & 0x7f) << shift;
    if (b < 0x80) {
      *out = value;
      return ORION_OK;
    }
  }
  return ORION_FAIL(err, ORION_FORMAT, "%s: no SentencePiece model: bad number at offset %zu", r->name, r->at);
}

static orion_status read_field(reader *r, field *f, orion_error *err) {
  size_t start = r->at, width = 0;
  uint64_t key;
  ORION_TRY(read_varint(r, &key, err));
  *f = (field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
  if (key >> 3 == 0 || key >> 3 > 0x1fffffff) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: no SentencePiece model: bad field at offset %zu", r->name, start);
  }
  switch (f->wire) {
    case 0:
      return read_varint(r, &f->value, err);
    case 1:
      width = 8;
      break;
    case 2:
      ORION_TRY(read_varint(r, &f->value, err));
      if (f->value > r->end - r->at) {
        return ORION_FAIL(err, ORION_FORMAT, "%s: field %u at offset %zu has %llu bytes, and %zu are left", r->name,
                          f->number, start, (unsigned long long)f->value, r->end - r->at);
      }
      f->begin = r->at;
      f->size = (size_t)f->value;
      r->at += f->size;
      return ORION_OK;
    case 5:
      width = 4;
      break;
    default:
      return ORION_FAIL(err, ORION_FORMAT, "%s: no SentencePiece model: wire type %u at offset %zu", r->name, f->wire,
                        start);
  }
  if (r->end - r->at < width) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: ends within field %u at offset %zu", r->name, f->number, start);
  }
  for (size_t i = 0; i < width; i++) f->value |= (uint64_t)r->data[r->at + i] << (8 * i);
  r->at += width;
  return ORION_OK;
}

static orion_status want_wire(const reader *r, const field *f, uint32_t wire, orion_error *err) {
  if (f->wire == wire) return ORION_OK;
  return ORION_FAIL(err, ORION_FORMAT, "%s: field %u before offset %zu has wire type %u (want %u)", r->name, f->number,
                    r->at, f->wire, wire);
}

static reader enter(const reader *r, const field *f) {
  return (reader){r->name, r->data, f->begin, f->begin + f->size};
}

static unsigned flags_of(uint64_t type) {
  switch (type) {
    case PIECE_NORMAL:
    case PIECE_USER_DEFINED:
      return ORION_TOKEN_PLAIN;
    case PIECE_UNKNOWN:
    case PIECE_CONTROL:
      return ORION_TOKEN_SPECIAL;
    case PIECE_BYTE:
      return ORION_TOKEN_BYTE;
    default:
      return 0;
  }
}

static orion_status read_piece(model *m, reader r, orion_error *err) {
  size_t start = r.at, text = r.at, size = 0;
  uint64_t type = PIECE_NORMAL;
  float score = 0;
  while (r.at < r.end) {
    field f;
    ORION_TRY(read_field(&r, &f, err));
    if (f.number == 1) {
      ORION_TRY(want_wire(&r, &f, 2, err));
      text = f.begin;
      size = f.size;
    } else if (f.number == 2) {
      ORION_TRY(want_wire(&r, &f, 5, err));
      score = orion_bits_to_float((uint32_t)f.value);
    } else if (f.number == 3) {
      ORION_TRY(want_wire(&r, &f, 0, err));
      type = f.value;
    }
  }
  if (size == 0 || size > ORION_TEXT_MAX_PIECE || type < PIECE_NORMAL || type > PIECE_BYTE || !isfinite(score)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: piece %d at offset %zu: %zu bytes, type %llu, score %g (want 1 to %d "
                      "bytes, type 1 to 6, a finite score)", r.name, m->count, start, size, (unsigned long long)type,
                      (double)score, ORION_TEXT_MAX_PIECE);
  }
  ORION_TRY(orion_vocab_add(&m->t->vocab, m->count, (const char *)r.data + text, size, flags_of(type), r.name, err));
  if (!ORION_GROW(m->t->allocator, &m->scores, &m->scores_cap, (size_t)m->count + 1)) return ORION_OOM(err, r.name);
  m->scores[m->count] = score;
  if (type == PIECE_UNKNOWN) m->t->unknown = m->count;
  if (type == PIECE_UNUSED) m->unused = true;
  orion_added_token added = {.id = m->count};
  added.special = type == PIECE_CONTROL || type == PIECE_UNKNOWN;
  added.normalized = added.verbatim = type == PIECE_USER_DEFINED;
  if (added.special || added.normalized) ORION_TRY(orion_add_added(m->t, added, r.name, err));
  m->count++;
  return ORION_OK;
}

static orion_status read_trainer(model *m, reader r, orion_error *err) {
  while (r.at < r.end) {
    field f;
    ORION_TRY(read_field(&r, &f, err));
    int64_t value = (int32_t)(uint32_t)f.value;
    bool known = true;
    switch (f.number) {
      case 3: m->type = value; break;
      case 24: m->suffix = value != 0; break;
      case 35: m->byte_fallback = value != 0; break;
      case 40: m->unk = value; break;
      case 41: m->bos = value; break;
      case 42: m->eos = value; break;
      default: known = false;
    }
    if (known) ORION_TRY(want_wire(&r, &f, 0, err));
  }
  return ORION_OK;
}

static orion_status read_normalizer(model *m, reader r, orion_error *err) {
  while (r.at < r.end) {
    field f;
    ORION_TRY(read_field(&r, &f, err));
    bool value = f.value != 0;
    if (f.number == 2) {
      ORION_TRY(want_wire(&r, &f, 2, err));
      if (f.size) {
        return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: normalizer with a character map of %zu bytes at offset %zu "
                          "(only the identity normalizer is built)", r.name, f.size, f.begin);
      }
    } else if (f.number >= 3 && f.number <= 5) {
      ORION_TRY(want_wire(&r, &f, 0, err));
      *(f.number == 3 ? &m->dummy_prefix : f.number == 4 ? &m->squeeze : &m->escape) = value;
    }
  }
  return ORION_OK;
}

static orion_status read_model(model *m, reader r, orion_error *err) {
  while (r.at < r.end) {
    field f;
    ORION_TRY(read_field(&r, &f, err));
    if (f.number >= 1 && f.number <= 3) ORION_TRY(want_wire(&r, &f, 2, err));
    if (f.number == 1) ORION_TRY(read_piece(m, enter(&r, &f), err));
    if (f.number == 2) ORION_TRY(read_trainer(m, enter(&r, &f), err));
    if (f.number == 3) ORION_TRY(read_normalizer(m, enter(&r, &f), err));
  }
  return ORION_OK;
}

static orion_status check_model(model *m, const char *name, orion_error *err) {
  if (m->count == 0) return ORION_FAIL(err, ORION_FORMAT, "%s: no SentencePiece model: it has no pieces", name);
  if (m->type != MODEL_BPE && m->type != MODEL_UNIGRAM) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: SentencePiece model type %lld (only 1, unigram, and 2, BPE)", name,
                      (long long)m->type);
  }
  if (m->suffix) return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: white space as suffix is not built", name);
  if (m->unused && m->type == MODEL_BPE) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: BPE with unused pieces is not built", name);
  }
  const int64_t ids[] = {m->unk, m->bos, m->eos};
  static const char *const what[] = {"unk_id", "bos_id", "eos_id"};
  for (int i = 0; i < 3; i++) {
    if (ids[i] >= m->count) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: %s is %lld, and there are %d pieces", name, what[i], (long long)ids[i],
                        m->count);
    }
  }
  return ORION_OK;
}

static orion_status build(model *m, const char *name, orion_error *err) {
  orion_tokenizer *t = m->t;
  bool control = m->bos >= 0 && (t->vocab.flags[m->bos] & ORION_TOKEN_SPECIAL) != 0;
  t->bos = control ? (int32_t)m->bos : -1;  // a default id that is no control piece is no begin token
  control = m->eos >= 0 && (t->vocab.flags[m->eos] & ORION_TOKEN_SPECIAL) != 0;
  t->eos = control ? (int32_t)m->eos : -1;
  t->adds_bos = t->bos >= 0;
  t->byte_fallback = m->byte_fallback;
  t->fuse_unknown = true;
  if (m->squeeze) ORION_TRY(orion_add_normalize(t, ORION_NORMALIZE_SPACES, NULL, name, NULL, err));
  if (m->dummy_prefix) {
    orion_normalize_step *step;
    ORION_TRY(orion_add_normalize(t, ORION_NORMALIZE_PREPEND, " ", name, &step, err));
    step->left = true;
    t->strip[0] = ' ';
    t->strip_count = 1;
  }
  ORION_TRY(orion_add_decode(t, ORION_DECODE_BYTE_FALLBACK, NULL, NULL, 0, 0, name, err));
  if (m->escape) {
    orion_normalize_step *step;
    ORION_TRY(orion_add_normalize(t, ORION_NORMALIZE_REPLACE, SPACE, name, &step, err));
    ORION_TRY(orion_regex_create(t->allocator, " ", 1, true, name, &step->pattern, err));
    ORION_TRY(orion_add_decode(t, ORION_DECODE_REPLACE, SPACE, " ", 0, 0, name, err));
  }
  if (m->type == MODEL_BPE) {
    t->kind = "SentencePiece BPE";
    return orion_merges_from_scores(t, m->scores, name, err);
  }
  t->kind = "SentencePiece unigram";
  t->unigram = true;
  t->scores = orion_alloc_zero(t->allocator, t->vocab.size, sizeof *t->scores);
  if (!t->scores) return ORION_OOM(err, name);
  memcpy(t->scores, m->scores, t->vocab.size * sizeof *t->scores);
  float least = INFINITY;
  for (size_t i = 0; i < t->vocab.size; i++) {
    if ((t->vocab.flags[i] & ORION_TOKEN_PLAIN) && t->scores[i] < least) least = t->scores[i];
  }
  t->unknown_score = (isfinite(least) ? least : 0) - 10;
  return ORION_OK;
}

orion_status orion_load_sentencepiece(orion_tokenizer *t, const char *name, const uint8_t *data, size_t size,
                                      orion_error *err) {
  // Defaults are those of sentencepiece_model.proto.
  model m = {.t = t, .type = MODEL_UNIGRAM, .unk = 0, .bos = 1, .eos = 2, .dummy_prefix = true, .squeeze = true,
             .escape = true};
  orion_status status = read_model(&m, (reader){name, data, 0, size}, err);
  if (status == ORION_OK) status = check_model(&m, name, err);
  if (status == ORION_OK) status = build(&m, name, err);
  orion_free(t->allocator, m.scores, m.scores_cap, sizeof *m.scores);
  return status;
}
