// Reading safetensors. Order of checks: length of the header, its JSON, each entry by itself, then all ranges together.
#include "model/safetensors.h"

#include <stdlib.h>

#include "base/json.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_HEADER (100u * 1000 * 1000)  // the reference implementation's limit
#define MAX_TENSORS (1u << 20)

static const struct {
  const char *spelling;
  orion_dtype dtype;
  unsigned bits;
} dtypes[] = {
    {"F64", ORION_FP64, 64},           {"F32", ORION_FP32, 32},           {"F16", ORION_FP16, 16},
    {"BF16", ORION_BF16, 16},          {"I64", ORION_INT64, 64},          {"I32", ORION_INT32, 32},
    {"I16", ORION_INT16, 16},          {"I8", ORION_INT8, 8},             {"U64", ORION_UINT64, 64},
    {"U32", ORION_UINT32, 32},         {"U16", ORION_UINT16, 16},         {"U8", ORION_UINT8, 8},
    {"BOOL", ORION_BOOL, 8},           {"C64", ORION_DTYPE_NONE, 64},     {"F8_E4M3", ORION_DTYPE_NONE, 8},
    {"F8_E5M2", ORION_DTYPE_NONE, 8},  {"F8_E8M0", ORION_DTYPE_NONE, 8},  {"F6_E2M3", ORION_DTYPE_NONE, 6},
    {"F6_E3M2", ORION_DTYPE_NONE, 6},  {"F4", ORION_DTYPE_NONE, 4},
};

// ---- one entry of the header ----

static orion_status read_dtype(const orion_safetensors *s, const json_t *entry, orion_stored_tensor *t, unsigned *bits,
                               orion_error *err) {
  const json_t *dtype = json_object_get(entry, "dtype");
  if (!json_is_string(dtype)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': 'dtype' is missing or no string", s->name, t->name);
  }
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
    if (strcmp(dtypes[i].spelling, json_string_value(dtype)) != 0) continue;
    t->dtype = dtypes[i].dtype;
    t->spelling = dtypes[i].spelling;
    *bits = dtypes[i].bits;
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': unknown dtype '%.40s' (want F32, F16, BF16...)", s->name,
                    t->name, json_string_value(dtype));
}

static orion_status read_shape(const orion_safetensors *s, const json_t *entry, orion_stored_tensor *t, size_t *elements,
                               orion_error *err) {
  const json_t *shape = json_object_get(entry, "shape");
  if (!json_is_array(shape)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': 'shape' is missing or no list", s->name, t->name);
  }
  size_t rank = json_array_size(shape);
  if (rank > ORION_MAX_RANK) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': %zu axes (want at most %d)", s->name, t->name, rank,
                      ORION_MAX_RANK);
  }
  t->rank = (int)rank;
  *elements = 1;
  for (size_t i = 0; i < rank; i++) {
    const json_t *dim = json_array_get(shape, i);
    if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': axis %zu of its shape is no count", s->name, t->name,
                        i);
    }
    t->dims[i] = json_integer_value(dim);
    if (!orion_mul_ok(*elements, (size_t)t->dims[i], elements)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': its shape has too many elements", s->name, t->name);
    }
  }
  return ORION_OK;
}

static orion_status read_range(const orion_safetensors *s, const json_t *entry, size_t data_at, orion_stored_tensor *t,
                               orion_error *err) {
  const json_t *range = json_object_get(entry, "data_offsets");
  const json_t *begin = json_array_get(range, 0), *end = json_array_get(range, 1);
  if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': 'data_offsets' is missing or not two integers", s->name,
                      t->name);
  }
  long long b = json_integer_value(begin), e = json_integer_value(end);
  if (b < 0 || e < b || (uint64_t)e > s->size - data_at) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': offsets [%lld, %lld] are not inside the data of %zu bytes",
                      s->name, t->name, b, e, s->size - data_at);
  }
  t->offset = data_at + (uint64_t)b;
  t->size = (size_t)(e - b);
  return ORION_OK;
}

static orion_status read_entry(orion_safetensors *s, const uint8_t *file, size_t data_at, const char *name,
                               const json_t *entry, orion_stored_tensor *t, orion_error *err) {
  t->name = orion_arena_strdup(&s->arena, name);
  if (!t->name) return ORION_OOM(err, s->name);
  if (!json_is_object(entry)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': its header entry is no object", s->name, name);
  }
  unsigned bits = 0;
  size_t elements = 0, total_bits;
  ORION_TRY(read_dtype(s, entry, t, &bits, err));
  ORION_TRY(read_shape(s, entry, t, &elements, err));
  ORION_TRY(read_range(s, entry, data_at, t, err));
  if (!orion_mul_ok(elements, bits, &total_bits) || total_bits % 8 != 0 || total_bits / 8 != t->size) {
    return ORION_FAIL(err, ORION_FORMAT,
                      "%s: tensor '%.100s' (byte %llu): %zu elements of %s do not fill the %zu bytes it is given", s->name,
                      name, (unsigned long long)t->offset, elements, t->spelling, t->size);
  }
  t->bytes = file + t->offset;
  return ORION_OK;
}

static orion_status read_metadata(orion_safetensors *s, json_t *object, orion_error *err) {
  if (!json_is_object(object)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: '__metadata__' is no object of strings", s->name);
  }
  s->metadata = ORION_ARENA_ARRAY(&s->arena, orion_text_pair, json_object_size(object));
  if (!s->metadata) return ORION_OOM(err, s->name);
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    if (!json_is_string(value)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: '__metadata__': the value of '%.100s' is no string", s->name, key);
    }
    orion_text_pair *pair = &s->metadata[s->n_metadata];
    pair->key = orion_arena_strdup(&s->arena, key);
    pair->value = orion_arena_strdup(&s->arena, json_string_value(value));
    if (!pair->key || !pair->value) return ORION_OOM(err, s->name);
    s->n_metadata++;
  }
  return ORION_OK;
}

// ---- all entries together ----

static int by_offset(const void *a, const void *b) {
  const orion_stored_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->size < y->size ? -1 : x->size > y->size;  // empty tensors before the one that starts where they are
}

static orion_status check_cover(const orion_safetensors *s, size_t data_at, orion_error *err) {
  uint64_t at = data_at;
  for (size_t i = 0; i < s->n_tensors; i++) {
    const orion_stored_tensor *t = &s->tensors[i];
    if (t->offset != at) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s' starts at byte %llu, %s (expected byte %llu)", s->name,
                        t->name, (unsigned long long)t->offset,
                        t->offset < at ? "inside the one before it" : "after bytes that belong to no tensor",
                        (unsigned long long)at);
    }
    at += t->size;
  }
  if (at != s->size) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: %llu bytes from byte %llu on belong to no tensor (damaged file?)", s->name,
                      (unsigned long long)(s->size - at), (unsigned long long)at);
  }
  return ORION_OK;
}

static orion_status make_table(orion_safetensors *s, orion_error *err) {
  s->cap_table = 16;
  while (s->cap_table < s->n_tensors * 2) s->cap_table *= 2;
  s->table = ORION_ARENA_ARRAY(&s->arena, uint32_t, s->cap_table);
  if (!s->table) return ORION_OOM(err, s->name);
  for (size_t i = 0; i < s->n_tensors; i++) {  // names are unique: the JSON parser refuses duplicate keys
    size_t at = XXH3_64bits(s->tensors[i].name, strlen(s->tensors[i].name)) & (s->cap_table - 1);
    while (s->table[at]) at = (at + 1) & (s->cap_table - 1);
    s->table[at] = (uint32_t)i + 1;
  }
  return ORION_OK;
}

static orion_status read_entries(orion_safetensors *s, const uint8_t *file, size_t data_at, json_t *header,
                                 orion_error *err) {
  size_t n = json_object_size(header);
  if (n > MAX_TENSORS) return ORION_FAIL(err, ORION_LIMIT, "%s: %zu tensors (at most %u)", s->name, n, MAX_TENSORS);
  s->tensors = ORION_ARENA_ARRAY(&s->arena, orion_stored_tensor, n);
  if (!s->tensors) return ORION_OOM(err, s->name);
  const char *key;
  json_t *value;
  json_object_foreach(header, key, value) {
    if (strcmp(key, "__metadata__") == 0) {
      ORION_TRY(read_metadata(s, value, err));
    } else {
      ORION_TRY(read_entry(s, file, data_at, key, value, &s->tensors[s->n_tensors], err));
      s->n_tensors++;
    }
  }
  if (s->n_tensors) qsort(s->tensors, s->n_tensors, sizeof *s->tensors, by_offset);
  ORION_TRY(check_cover(s, data_at, err));
  return make_table(s, err);
}

static orion_status parse(orion_safetensors *s, const uint8_t *file, orion_error *err) {
  if (s->size < 8) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: %zu bytes, too short for a safetensors file", s->name, s->size);
  }
  uint64_t length = 0;
  for (int i = 0; i < 8; i++) length |= (uint64_t)file[i] << 8 * i;
  if (length > s->size - 8) {
    return ORION_FAIL(err, ORION_FORMAT,
                      "%s (byte 0): a header of %llu bytes in a file of %zu (cut short, or no safetensors file)", s->name,
                      (unsigned long long)length, s->size);
  }
  if (length > MAX_HEADER) {
    return ORION_FAIL(err, ORION_LIMIT, "%s (byte 0): a header of %llu bytes (at most %u)", s->name,
                      (unsigned long long)length, MAX_HEADER);
  }
  if (length == 0 || file[8] != '{') {
    return ORION_FAIL(err, ORION_FORMAT, "%s (byte 8): the header does not begin with '{'", s->name);
  }
  json_t *header;
  orion_status status = orion_json_parse((const char *)file + 8, (size_t)length, s->name, &header, err);
  if (status == ORION_FORMAT) orion_error_prefix(err, "safetensors header");
  if (status != ORION_OK) return status;
  status = read_entries(s, file, 8 + (size_t)length, header, err);
  json_decref(header);
  return status;
}

static orion_safetensors *new_reader(const orion_allocator *a, const char *name) {
  a = orion_allocator_or_default(a);
  orion_safetensors *s = orion_alloc_zero(a, 1, sizeof *s);
  if (!s) return NULL;
  s->allocator = a;
  orion_arena_init(&s->arena, a);
  s->name = orion_arena_strdup(&s->arena, name);
  if (s->name) return s;
  orion_safetensors_close(s);
  return NULL;
}

orion_status orion_safetensors_parse(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                     orion_safetensors **out, orion_error *err) {
  orion_safetensors *s = new_reader(a, name);
  if (!s) return ORION_OOM(err, name);
  s->size = n;
  orion_status status = parse(s, bytes, err);
  if (status == ORION_OK) {
    *out = s;
  } else {
    orion_safetensors_close(s);
  }
  return status;
}

orion_status orion_safetensors_open(const orion_allocator *a, const char *path, orion_safetensors **out,
                                    orion_error *err) {
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  orion_status status = orion_safetensors_parse(a, path, map.data, map.size, out, err);
  if (status == ORION_OK) {
    (*out)->map = map;
  } else {
    orion_file_close_map(&map);
  }
  return status;
}

void orion_safetensors_close(orion_safetensors *s) {
  if (!s) return;
  if (s->map.data) orion_file_close_map(&s->map);
  orion_arena_deinit(&s->arena);
  orion_free(s->allocator, s, 1, sizeof *s);
}

const orion_stored_tensor *orion_safetensors_find(const orion_safetensors *s, const char *name) {
  size_t at = XXH3_64bits(name, strlen(name)) & (s->cap_table - 1);
  for (; s->table[at]; at = (at + 1) & (s->cap_table - 1)) {
    const orion_stored_tensor *t = &s->tensors[s->table[at] - 1];
    if (strcmp(t->name, name) == 0) return t;
  }
  return NULL;
}

const char *orion_safetensors_spelling(orion_dtype d) {
  for (size_t i = 0; d != ORION_DTYPE_NONE && i < sizeof dtypes / sizeof *dtypes; i++) {
    if (dtypes[i].dtype == d) return dtypes[i].spelling;
  }
  return NULL;
}

const char *orion_safetensors_meta(const orion_safetensors *s, const char *key) {
  for (size_t i = 0; i < s->n_metadata; i++) {
    if (strcmp(s->metadata[i].key, key) == 0) return s->metadata[i].value;
  }
  return NULL;
}
