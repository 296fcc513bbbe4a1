// Writing a program with its constants. Blob files come first, because the text needs their offsets, and are committed
// before the text, because a text without its blobs would be broken.
#include "base/file.h"
#include "mil/bind.h"
#include "mil/blob.h"
#include "mil/walk.h"

typedef struct blob_out {
  orion_blob_writer *writer;
  char *path;  // as the text says it
} blob_out;

typedef struct dir_writer {
  const orion_allocator *allocator;
  const char *dir, *blob_name;
  size_t inline_bytes;
  uint64_t max_file_bytes;
  blob_out *files;
  size_t n_files, cap_files;
} dir_writer;

// Whether a literal's elements belong in a blob file.
static bool wants_blob(const dir_writer *w, const orion_literal *l) {
  size_t size;
  if (!l->data || l->data->dtype != l->type->dtype || !orion_blob_code(l->type->dtype)) return false;
  if (!orion_dtype_bytes(l->data->dtype, orion_data_elements(l->data), &size) || size == 0) return false;
  return l->kind == ORION_LIT_BLOB || size > w->inline_bytes;
}

static bool find_place(const dir_writer *w, const orion_data *x, size_t *out_file, uint64_t *out_record) {
  for (size_t i = 0; i < w->n_files; i++) {
    if (!orion_blob_writer_find(w->files[i].writer, x, out_record)) continue;
    *out_file = i;
    return true;
  }
  return false;
}

static bool place(void *ctx, const orion_literal *l, const char **out_path, uint64_t *out_offset) {
  const dir_writer *w = ctx;
  size_t file;
  if (!wants_blob(w, l) || !find_place(w, l->data, &file, out_offset)) return false;
  *out_path = w->files[file].path;
  return true;
}

// "weights/weight.bin", "weights/weight_1.bin", ... after `head`; NULL when out of memory.
static char *numbered(const dir_writer *w, const char *head, size_t i) {
  orion_strbuf b;
  orion_strbuf_init(&b, w->allocator);
  const char *name = w->blob_name, *slash = strrchr(name, '/'), *dot = strrchr(name, '.');
  if (!dot || (slash && dot < slash)) dot = name + strlen(name);
  orion_strbuf_addf(&b, "%s/%.*s", head, (int)(dot - name), name);
  if (i) orion_strbuf_addf(&b, "_%zu", i);
  orion_strbuf_adds(&b, dot);
  char *text = b.failed ? NULL : orion_strdup(w->allocator, b.data);
  orion_strbuf_deinit(&b);
  return text;
}

static orion_status make_parent(const orion_allocator *a, const char *path, orion_error *err) {
  const char *slash = strrchr(path, '/');
  if (!slash || slash == path) return ORION_OK;
  char *parent = orion_strndup(a, path, (size_t)(slash - path));
  if (!parent) return ORION_OOM(err, path);
  orion_status status = orion_dir_make(parent, err);
  orion_strfree(a, parent);
  return status;
}

static orion_status begin_file(dir_writer *w, orion_error *err) {
  if (!ORION_GROW(w->allocator, &w->files, &w->cap_files, w->n_files + 1)) return ORION_OOM(err, w->dir);
  blob_out *f = &w->files[w->n_files];
  *f = (blob_out){0};
  char *path = numbered(w, w->dir, w->n_files);
  f->path = numbered(w, "@model_path", w->n_files);
  orion_status status = path && f->path ? make_parent(w->allocator, path, err) : ORION_OOM(err, w->dir);
  if (status == ORION_OK) status = orion_blob_writer_open(w->allocator, path, &f->writer, err);
  orion_strfree(w->allocator, path);
  if (status != ORION_OK) {
    orion_strfree(w->allocator, f->path);
    return status;
  }
  w->n_files++;
  return ORION_OK;
}

static orion_status write_literal(void *ctx, const orion_mil_place *at, orion_literal *l, orion_error *err) {
  dir_writer *w = ctx;
  if (l->kind == ORION_LIT_BLOB && !l->data) {
    return ORION_FAIL(err, ORION_INVALID, "constant '%s': its blob %s was not read (open the program with its blobs)",
                      at->name, l->blob_path);
  }
  size_t file, size = 0;
  uint64_t record;
  if (!wants_blob(w, l) || find_place(w, l->data, &file, &record)) return ORION_OK;
  orion_dtype_bytes(l->data->dtype, orion_data_elements(l->data), &size);
  uint64_t used = w->n_files ? orion_blob_writer_size(w->files[w->n_files - 1].writer) : 0;
  bool fits = size <= w->max_file_bytes && used + 2 * ORION_BLOB_ALIGN <= w->max_file_bytes - size;
  bool full = used > ORION_BLOB_ALIGN && !fits;  // a tensor larger than the limit gets a file to itself
  if (!w->n_files || full) ORION_TRY(begin_file(w, err));
  return orion_blob_writer_add(w->files[w->n_files - 1].writer, l->data, &record, err);
}

static orion_status write_text(const orion_program *p, const char *path, const orion_mil_placement *placement,
                               const orion_allocator *a, orion_strbuf *out, orion_error *err) {
  ORION_TRY(make_parent(a, path, err));
  return orion_mil_print_placed(p, placement, out, err);
}

orion_status orion_mil_write_dir(const orion_program *p, const char *dir, const orion_mil_write_options *options,
                                 orion_error *err) {
  static const orion_mil_write_options defaults;
  if (!options) options = &defaults;
  dir_writer w = {.allocator = p->allocator, .dir = dir,
                  .blob_name = options->blob_name ? options->blob_name : "weights/weight.bin",
                  .inline_bytes = options->inline_bytes ? options->inline_bytes : 256,
                  .max_file_bytes = options->max_file_bytes ? options->max_file_bytes : UINT32_MAX};
  orion_mil_placement placement = {place, &w};
  orion_strbuf text;
  orion_strbuf_init(&text, w.allocator);
  char *path = orion_path_join(w.allocator, dir, options->mil_name ? options->mil_name : "model.mil");
  orion_status status = path ? orion_mil_walk(p, write_literal, &w, err) : ORION_OOM(err, dir);
  if (status == ORION_OK) status = write_text(p, path, &placement, w.allocator, &text, err);
  for (size_t i = 0; i < w.n_files; i++) {
    if (status == ORION_OK) {
      status = orion_blob_writer_commit(w.files[i].writer, err);
    } else {
      orion_blob_writer_abort(w.files[i].writer);
    }
    orion_strfree(w.allocator, w.files[i].path);
  }
  if (status == ORION_OK) status = orion_file_write(w.allocator, path, orion_strbuf_text(&text), text.size, err);
  orion_free(w.allocator, w.files, w.cap_files, sizeof *w.files);
  orion_strbuf_deinit(&text);
  orion_strfree(w.allocator, path);
  return status;
}
