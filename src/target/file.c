// Targets as files: a family's numbers with some of them replaced by what `orion probe --update-target` measured.
//
//   {"family": "m4", "device": "...", "limits": {"dispatch_us": 91.2, "load_slots": 126}}
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "target/target.h"

enum { MAX_BYTES = 1 << 20 };

static orion_status read_limits(const char *path, json_t *limits, orion_target *t, orion_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach(limits, key, value) {
    const orion_limit *l = orion_limit_find(key);
    if (!l) return ORION_FAIL(err, ORION_FORMAT, "%s: limits: there is no \"%.60s\" (docs/limits.md)", path, key);
    double v = json_number_value(value);
    if (!json_is_number(value) || !(v >= 0)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: limits: %s is no number of 0 or more", path, key);
    }
    orion_limit_set(l, t, v);
  }
  if (t->row_bytes < 1 || t->width_multiple < 1 || t->max_rank < 1 || t->max_conv_out < 1) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: limits: row_bytes, width_multiple, max_rank and max_conv_out are 1 or more",
                      path);
  }
  return ORION_OK;
}

static orion_status read_object(const char *path, json_t *root, orion_target *out, orion_error *err) {
  const char *family = json_string_value(json_object_get(root, "family"));
  const orion_target *base = family ? orion_target_find(family) : NULL;
  json_t *limits = json_object_get(root, "limits");
  if (!base) return ORION_FAIL(err, ORION_FORMAT, "%s: family: want m1 to m6", path);
  if (limits && !json_is_object(limits)) return ORION_FAIL(err, ORION_FORMAT, "%s: limits: want an object", path);
  *out = *base;
  return read_limits(path, limits, out, err);
}

orion_status orion_target_read(const orion_allocator *a, const char *path, orion_target *out, orion_error *err) {
  char *text;
  size_t n;
  a = orion_allocator_or_default(a);
  ORION_TRY(orion_file_read(a, path, MAX_BYTES, &text, &n, err));
  json_t *root = NULL;
  orion_status status = orion_json_parse(text, n, path, &root, err);
  orion_free(a, text, n + 1, 1);
  if (status == ORION_OK) status = read_object(path, root, out, err);
  json_decref(root);
  return status;
}

orion_status orion_target_open(const orion_allocator *a, const char *name, orion_target *storage,
                               const orion_target **out, orion_error *err) {
  size_t n = strlen(name);
  *out = orion_target_find(name);
  if (*out) return ORION_OK;
  if (n < 6 || strcmp(name + n - 5, ".json") != 0) {
    return ORION_FAIL(err, ORION_INVALID, "target: there is no \"%s\" (m1 to m6, cpu, or FILE.json)", name);
  }
  ORION_TRY(orion_target_read(a, name, storage, err));
  *out = storage;
  return ORION_OK;
}
