#include "train/tokens.h"

#include <xxhash.h>

#include "train/permutation.h"
#include "train/tokens_impl.h"

#define MAX_ID ((int64_t)INT32_MAX)

struct orion_tokens {
  const orion_allocator *allocator;
  orion_token_file *files;
  size_t n_files;
  int64_t seq;
  bool shuffle;
  uint64_t seed, windows, count, hash;
};

// ---- opening --------------------------------------------------------------------------------------------------------

// Bytes of an id by the file's name; 0: it is text.
static int width_of(const char *path, const orion_tokens_options *o) {
  if (orion_path_ends(path, ".u16")) return 2;
  if (orion_path_ends(path, ".u32")) return 4;
  if (!orion_path_ends(path, ".bin")) return 0;
  return o->width ? o->width : orion_token_width(o->vocab);
}

static orion_status check_ids(const orion_token_file *f, const char *path, int64_t vocab, orion_error *err) {
  for (uint64_t i = 0; i < f->n; i++) {
    int64_t id = (int64_t)(uint32_t)orion_token_file_id(f, i);
    if (id < vocab) continue;
    if (f->ids) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: its token %llu is id %lld, outside the model's vocabulary of %lld (another "
                        "model's tokenizer?)", path, (unsigned long long)i, (long long)id, (long long)vocab);
    }
    return ORION_FAIL(err, ORION_FORMAT,
                      "%s (byte %llu): id %lld is outside the vocabulary of %lld (wrong width of ids, or another tokenizer's)",
                      path, (unsigned long long)(i * (uint64_t)f->width), (long long)id, (long long)vocab);
  }
  return ORION_OK;
}

static orion_status open_file(const orion_allocator *a, const char *path, const orion_tokens_options *o,
                              orion_token_file *f, orion_error *err) {
  f->width = width_of(path, o);
  if (!f->width) {
    ORION_TRY(orion_token_file_encode(a, path, o->tokenizer, f, err));
  } else {
    ORION_TRY(orion_file_open_map(path, &f->map, err));
    if (f->map.size % (size_t)f->width) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: %zu bytes, not a whole number of ids of %d bytes", path, f->map.size, f->width);
    }
    f->bytes = f->map.data;
    f->n = f->map.size / (size_t)f->width;
  }
  if (f->n < (uint64_t)o->seq + 1) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: %llu tokens, too few for one window of %lld and its targets (shorten --seq)",
                      path, (unsigned long long)f->n, (long long)o->seq);
  }
  return check_ids(f, path, o->vocab, err);
}

// ---- windows --------------------------------------------------------------------------------------------------------

static bool add_begin(const orion_allocator *a, orion_token_file *f, uint64_t begin, uint64_t last) {
  if (begin > last) begin = last;
  if (f->n_windows && f->begins[f->n_windows - 1] == begin) return true;
  if (!ORION_GROW(a, &f->begins, &f->cap_begins, (size_t)f->n_windows + 1)) return false;
  f->begins[f->n_windows++] = begin;
  return true;
}

// Where a file begins with the separator, it belongs to the document that follows, else to the one that precedes.
static bool cut_documents(const orion_allocator *a, orion_token_file *f, const orion_tokens_options *o, int32_t separator) {
  bool leads = orion_token_file_id(f, 0) == separator;
  uint64_t seq = (uint64_t)o->seq, last = f->n - 1 - seq;
  for (uint64_t begin = 0; begin + 1 < f->n;) {
    uint64_t end = begin + 1;
    while (end < f->n && orion_token_file_id(f, leads ? end : end - 1) != separator) end++;
    for (uint64_t at = begin; at == begin || at + 1 < end; at += seq) {
      if (!add_begin(a, f, at, last)) return false;
    }
    begin = end;
  }
  return true;
}

static orion_status cut(orion_tokens *t, const orion_tokens_options *o, orion_error *err) {
  int32_t separator = o->separator;
  if (o->documents && separator < 0 && o->tokenizer) {
    separator = orion_tokenizer_token_id(o->tokenizer, "<|endoftext|>", 13);
    if (separator < 0) separator = orion_tokenizer_bos(o->tokenizer);
  }
  if (o->documents && separator < 0) {
    return ORION_FAIL(err, ORION_INVALID, "documents: no token that separates them is known (give its id)");
  }
  for (size_t i = 0; i < t->n_files; i++) {
    orion_token_file *f = &t->files[i];
    f->first_window = t->windows;
    if (!o->documents) {
      f->n_windows = (f->n - 1 + (uint64_t)t->seq - 1) / (uint64_t)t->seq;
    } else if (!cut_documents(t->allocator, f, o, separator)) {
      return ORION_OOM(err, o->paths[i]);
    }
    t->windows += f->n_windows;
    t->count += f->n;
  }
  return ORION_OK;
}

static orion_status hash_all(orion_tokens *t, const orion_tokens_options *o, orion_error *err) {
  XXH3_state_t *state = XXH3_createState();
  if (!state) return ORION_OOM(err, "hash");
  XXH3_64bits_reset(state);
  uint64_t cutting[] = {(uint64_t)o->seq, o->documents, o->shuffle, o->seed, t->n_files};
  XXH3_64bits_update(state, cutting, sizeof cutting);
  for (size_t i = 0; i < t->n_files; i++) {
    const orion_token_file *f = &t->files[i];
    uint64_t head[] = {f->n, f->n_windows};
    XXH3_64bits_update(state, head, sizeof head);
    XXH3_64bits_update(state, f->bytes, (size_t)f->n * (size_t)f->width);
  }
  t->hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return ORION_OK;
}

orion_status orion_tokens_open(const orion_allocator *a, const orion_tokens_options *o, orion_tokens **out,
                               orion_error *err) {
  a = orion_allocator_or_default(a);
  if (o->n_paths == 0) return ORION_FAIL(err, ORION_INVALID, "data: no file is given");
  if (o->seq < 1 || o->vocab < 1 || o->vocab > MAX_ID) {
    return ORION_FAIL(err, ORION_INVALID, "data: windows of %lld tokens of a vocabulary of %lld", (long long)o->seq,
                      (long long)o->vocab);
  }
  if (o->width != 0 && o->width != 2 && o->width != 4) {
    return ORION_FAIL(err, ORION_INVALID, "data: ids of %d bytes (want 2 or 4)", o->width);
  }
  orion_tokens *t = orion_alloc_zero(a, 1, sizeof *t);
  if (!t) return ORION_OOM(err, "data");
  *t = (orion_tokens){.allocator = a, .seq = o->seq, .shuffle = o->shuffle, .seed = o->seed, .n_files = o->n_paths};
  t->files = orion_alloc_zero(a, t->n_files, sizeof *t->files);
  orion_status status = t->files ? ORION_OK : ORION_OOM(err, "data");
  for (size_t i = 0; status == ORION_OK && i < t->n_files; i++) status = open_file(a, o->paths[i], o, &t->files[i], err);
  if (status == ORION_OK) status = cut(t, o, err);
  if (status == ORION_OK) status = hash_all(t, o, err);
  if (status != ORION_OK) {
    orion_tokens_close(t);
    return status;
  }
  *out = t;
  return ORION_OK;
}

void orion_tokens_close(orion_tokens *t) {
  if (!t) return;
  for (size_t i = 0; t->files && i < t->n_files; i++) {
    orion_token_file *f = &t->files[i];
    orion_file_close_map(&f->map);
    orion_free(t->allocator, f->ids, f->cap_ids, sizeof *f->ids);
    orion_free(t->allocator, f->begins, f->cap_begins, sizeof *f->begins);
  }
  orion_free(t->allocator, t->files, t->n_files, sizeof *t->files);
  orion_free(t->allocator, t, 1, sizeof *t);
}

uint64_t orion_tokens_windows(const orion_tokens *t) { return t->windows; }
uint64_t orion_tokens_count(const orion_tokens *t) { return t->count; }
uint64_t orion_tokens_hash(const orion_tokens *t) { return t->hash; }

// ---- reading --------------------------------------------------------------------------------------------------------

static const orion_token_file *file_of(const orion_tokens *t, uint64_t window) {
  size_t low = 0, high = t->n_files - 1;
  while (low < high) {
    size_t middle = (low + high + 1) / 2;
    if (t->files[middle].first_window <= window) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return &t->files[low];
}

// Where window number `window` begins, and in which file.
static uint64_t begin_of(const orion_tokens *t, uint64_t window, const orion_token_file **out_file) {
  const orion_token_file *f = file_of(t, window);
  uint64_t index = window - f->first_window, last = f->n - 1 - (uint64_t)t->seq;
  uint64_t begin = f->begins ? f->begins[index] : index * (uint64_t)t->seq;
  *out_file = f;
  return begin < last ? begin : last;
}

void orion_tokens_window(const orion_tokens *t, uint64_t window, int32_t *out_ids) {
  const orion_token_file *f;
  uint64_t begin = begin_of(t, window, &f);
  for (int64_t i = 0; i <= t->seq; i++) out_ids[i] = orion_token_file_id(f, begin + (uint64_t)i);
}

void orion_tokens_next(const orion_tokens *t, orion_tokens_position *position, int64_t n, int32_t *out_inputs,
                       int32_t *out_targets) {
  for (int64_t b = 0; b < n; b++) {
    if (position->index >= t->windows) *position = (orion_tokens_position){position->epoch + 1, 0};
    uint64_t window = position->index++;
    if (t->shuffle) {
      orion_permutation order;
      orion_permutation_init(&order, t->windows, t->seed, position->epoch);
      window = orion_permutation_at(&order, window);
    }
    const orion_token_file *f;
    uint64_t begin = begin_of(t, window, &f);
    for (int64_t i = 0; i < t->seq; i++) {
      out_inputs[b * t->seq + i] = orion_token_file_id(f, begin + (uint64_t)i);
      out_targets[b * t->seq + i] = orion_token_file_id(f, begin + (uint64_t)i + 1);
    }
  }
}

void orion_tokens_skip(const orion_tokens *t, orion_tokens_position *position, int64_t n) {
  while (n > 0) {
    if (position->index >= t->windows) *position = (orion_tokens_position){position->epoch + 1, 0};
    uint64_t left = t->windows - position->index, step = (uint64_t)n < left ? (uint64_t)n : left;
    position->index += step;
    n -= (int64_t)step;
  }
}
