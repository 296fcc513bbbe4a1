// Binding: a BLOBFILE literal becomes a leaf over the pages of its blob file.
#include "mil/bind.h"

#include "base/file.h"
#include "mil/blob.h"
#include "mil/walk.h"

typedef struct opened {
  const char *path;       // as the text says it; the program's
  orion_blob_file *file;  // owned by the data store once kept, else by the binder; NULL: it did not open
} opened;

typedef struct binder {
  orion_program *program;
  const orion_allocator *allocator;
  const char *file;          // the text, for messages
  const char *dir;
  opened *opened;
  size_t n_opened, cap_opened;
  orion_findings *findings;  // check only: gather instead of failing, bind nothing
  bool fatal;
} binder;

static void close_blob(void *ctx) { orion_blob_close(ctx); }

// A path of a text stays inside the model: "@model_path/a/b" or "a/b", without "..".
static orion_status relative_part(const char *path, const char **out, orion_error *err) {
  static const char prefix[] = "@model_path/";
  const char *p = strncmp(path, prefix, sizeof prefix - 1) == 0 ? path + sizeof prefix - 1 : path;
  bool sound = *p && *p != '/' && *p != '@' && !strchr(p, '\\');
  for (const char *part = p; sound && part;) {
    const char *slash = strchr(part, '/');
    size_t n = slash ? (size_t)(slash - part) : strlen(part);
    sound = !(n == 2 && part[0] == '.' && part[1] == '.');
    part = slash ? slash + 1 : NULL;
  }
  if (!sound) {
    return ORION_FAIL(err, ORION_FORMAT, "blob path \"%.200s\": leads out of the model (paths are @model_path/NAME)",
                      path);
  }
  *out = p;
  return ORION_OK;
}

// *out is NULL for a file whose fault has been reported before.
static orion_status open_blob(binder *b, const char *path, orion_blob_file **out, orion_error *err) {
  for (size_t i = b->n_opened; i-- > 0;) {  // the last one is the likeliest
    if (strcmp(b->opened[i].path, path) == 0) {
      *out = b->opened[i].file;
      return ORION_OK;
    }
  }
  const char *relative;
  ORION_TRY(relative_part(path, &relative, err));
  if (!ORION_GROW(b->allocator, &b->opened, &b->cap_opened, b->n_opened + 1)) return ORION_OOM(err, path);
  char *full = orion_path_join(b->allocator, b->dir, relative);
  if (!full) return ORION_OOM(err, path);
  orion_status status = orion_blob_open(b->allocator, full, out, err);
  orion_strfree(b->allocator, full);
  if (status != ORION_OK) {
    b->opened[b->n_opened++] = (opened){path, NULL};
    return status;
  }
  if (!b->findings) {
    status = orion_data_store_keep(b->program->data, *out, close_blob, err);
    if (status != ORION_OK) {
      orion_blob_close(*out);
      return status;
    }
  }
  b->opened[b->n_opened++] = (opened){path, *out};
  return ORION_OK;
}

static orion_status find_blob(binder *b, const orion_literal *l, orion_blob_tensor *out, orion_error *err) {
  orion_blob_file *file;
  size_t size;
  ORION_TRY(open_blob(b, l->blob_path, &file, err));
  if (!file) return ORION_OK;
  ORION_TRY(orion_blob_find(file, l->blob_offset, out, err));
  if (out->dtype != l->type->dtype) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: offset %llu holds %s, the text says %s", l->blob_path,
                      (unsigned long long)l->blob_offset, orion_dtype_name(out->dtype),
                      orion_dtype_name(l->type->dtype));
  }
  if (!orion_type_bytes(l->type, &size)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: the text's type for offset %llu has no definite size", l->blob_path,
                      (unsigned long long)l->blob_offset);
  }
  if (out->size == size) return ORION_OK;
  return ORION_FAIL(err, ORION_FORMAT, "%s: offset %llu holds %zu bytes, the text's type needs %zu", l->blob_path,
                    (unsigned long long)l->blob_offset, out->size, size);
}

static orion_status bind_literal(void *ctx, const orion_mil_place *at, orion_literal *l, orion_error *err) {
  binder *b = ctx;
  if (l->kind != ORION_LIT_BLOB || l->data) return ORION_OK;
  orion_blob_tensor t = {0};
  orion_error local = {0};
  orion_status status = find_blob(b, l, &t, &local);
  if (b->findings) {
    if (status == ORION_OK) return ORION_OK;
    if (status == ORION_NO_MEMORY) return ORION_OOM(err, b->file);
    orion_findings_add(b->findings, "constant", b->fatal, at->function, at->op, at->name,
                       status == ORION_NOT_FOUND ? "put the blob file there, or name its directory" : NULL, "%s",
                       local.message);
    return b->findings->failed ? ORION_OOM(err, b->file) : ORION_OK;
  }
  if (status != ORION_OK) {
    return ORION_FAIL(err, status, "%s:%u:%u: constant '%.60s': %s", b->file, at->loc.line, at->loc.column, at->name,
                      local.message);
  }
  size_t elements = 0, rows = l->type->rank ? (size_t)l->type->dims[0] : 1;
  orion_type_elements(l->type, &elements);
  l->data = orion_data_borrow_mapped(b->program->data, t.dtype, rows, rows ? elements / rows : 0, t.bytes, at->name);
  return l->data ? ORION_OK : ORION_OOM(err, b->file);
}

static orion_status run(binder *b, orion_error *err) {
  orion_status status = orion_mil_walk(b->program, bind_literal, b, err);
  for (size_t i = 0; b->findings && i < b->n_opened; i++) orion_blob_close(b->opened[i].file);
  orion_free(b->allocator, b->opened, b->cap_opened, sizeof *b->opened);
  return status;
}

// Gives every BLOBFILE literal its data: maps each blob file once (the program's data store keeps it), finds the
// record, checks dtype and size against the literal's type. `file` names the text in messages.
static orion_status bind_blobs(orion_program *p, const char *file, const char *dir, orion_error *err) {
  binder b = {.program = p, .allocator = p->allocator, .file = file, .dir = dir};
  return run(&b, err);
}

// The text's own path, and the directory that @model_path stands for; both to be freed.
static orion_status locate(const orion_allocator *a, const char *path, const char *blobs, char **out_text,
                           char **out_dir, orion_error *err) {
  bool is_dir = orion_dir_exists(path);
  char *text = is_dir ? orion_path_join(a, path, "model.mil") : orion_strdup(a, path);
  const char *slash = strrchr(path, '/');
  char *dir = blobs          ? orion_strdup(a, blobs)
              : is_dir       ? orion_strdup(a, path)
              : slash        ? orion_strndup(a, path, slash == path ? 1 : (size_t)(slash - path))
                             : orion_strdup(a, ".");
  if (text && dir && is_dir && !orion_file_exists(text)) {
    orion_strfree(a, text);
    orion_strfree(a, dir);
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no model.mil inside (a compiled model directory has one)", path);
  }
  if (!text || !dir) {
    orion_strfree(a, text);
    orion_strfree(a, dir);
    return ORION_OOM(err, path);
  }
  *out_text = text;
  *out_dir = dir;
  return ORION_OK;
}

orion_status orion_mil_open(const orion_allocator *a, const char *path, const orion_mil_open_options *options,
                            orion_program **out, orion_error *err) {
  static const orion_mil_open_options defaults;
  if (!options) options = &defaults;
  a = orion_allocator_or_default(a);
  char *file, *dir, *text = NULL;
  size_t n = 0;
  orion_program *p = NULL;
  ORION_TRY(locate(a, path, options->blobs, &file, &dir, err));
  const char *shown = strcmp(file, "-") == 0 ? "standard input" : file;
  orion_status status = orion_file_read(a, file, (size_t)1 << 31, &text, &n, err);
  if (status == ORION_OK) {
    status = orion_mil_parse(a, text, n, shown, &p, err);
    orion_free(a, text, n + 1, 1);
  }
  if (status == ORION_OK && !options->unbound) status = bind_blobs(p, shown, dir, err);
  orion_strfree(a, file);
  orion_strfree(a, dir);
  if (status != ORION_OK) {
    orion_program_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}

orion_status orion_mil_check_blobs(orion_program *p, const char *path, const char *blobs, bool fatal,
                                   orion_findings *out, orion_error *err) {
  binder b = {.program = p, .allocator = p->allocator, .findings = out, .fatal = fatal};
  char *file, *dir;
  ORION_TRY(locate(p->allocator, path, blobs, &file, &dir, err));
  b.file = file;
  b.dir = dir;
  orion_status status = run(&b, err);
  orion_strfree(p->allocator, file);
  orion_strfree(p->allocator, dir);
  return status;
}
