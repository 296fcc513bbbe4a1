#include "train/checkpoint_hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/file.h"

orion_status orion_file_hash(const char *path, char out[ORION_HASH_TEXT], orion_error *err) {
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  XXH128_hash_t h = XXH3_128bits(map.data, map.size);
  orion_file_close_map(&map);
  snprintf(out, ORION_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
  return ORION_OK;
}

static int add_piece(const char *piece, size_t n, void *out) {
  orion_strbuf_add(out, piece, n);
  return 0;
}

orion_status orion_json_text(const json_t *value, orion_strbuf *out, orion_error *err) {
  if (json_dump_callback(value, add_piece, out, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) != 0) {
    return ORION_OOM(err, "state");
  }
  orion_strbuf_addc(out, '\n');
  return orion_strbuf_status(out, err);
}
