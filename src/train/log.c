#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

#define MAX_LOG ((size_t)1 << 31)

struct orion_train_log {
  const orion_allocator *allocator;
  char *path;
  int fd;
  orion_strbuf line;
};

// ---- lines ----

typedef orion_status (*line_fn)(void *ctx, const char *line, size_t n, const json_t *value, orion_error *err);

static orion_status each_line(const char *path, line_fn fn, void *ctx, orion_error *err) {
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  orion_status status = map.size <= MAX_LOG ? ORION_OK : ORION_FAIL(err, ORION_LIMIT, "%s: too large for a log", path);
  const char *at = (const char *)map.data, *end = at + map.size;
  for (size_t number = 1; status == ORION_OK && at < end; number++) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    if (!newline) break;  // cut off
    json_t *value = NULL;
    status = orion_json_parse(at, (size_t)(newline - at), path, &value, err);
    if (status != ORION_OK) orion_error_prefix(err, "line %zu", number);
    if (status == ORION_OK) status = fn(ctx, at, (size_t)(newline + 1 - at), value, err);
    json_decref(value);
    at = newline + 1;
  }
  orion_file_close_map(&map);
  return status;
}

// ---- writing ----

typedef struct keeping {
  int64_t step;
  orion_strbuf text;
} keeping;

static orion_status keep_line(void *ctx, const char *line, size_t n, const json_t *value, orion_error *err) {
  keeping *k = ctx;
  if (json_integer_value(json_object_get(value, "step")) <= k->step) orion_strbuf_add(&k->text, line, n);
  return ORION_OK;
}

static orion_status drop_later(const orion_allocator *a, const char *path, int64_t step, orion_error *err) {
  keeping k = {.step = step};
  orion_strbuf_init(&k.text, a);
  orion_status status = step > 0 && orion_file_exists(path) ? each_line(path, keep_line, &k, err) : ORION_OK;
  if (status == ORION_OK) status = orion_strbuf_status(&k.text, err);
  if (status == ORION_OK) status = orion_file_write(a, path, orion_strbuf_text(&k.text), k.text.size, err);
  orion_strbuf_deinit(&k.text);
  return status;
}

orion_status orion_train_log_open(const orion_allocator *a, const char *path, int64_t step, orion_train_log **out,
                                  orion_error *err) {
  a = orion_allocator_or_default(a);
  ORION_TRY(drop_later(a, path, step, err));
  orion_train_log *log = orion_alloc_zero(a, 1, sizeof *log);
  if (!log) return ORION_OOM(err, path);
  log->allocator = a;
  orion_strbuf_init(&log->line, a);
  log->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  log->path = orion_strdup(a, path);
  orion_status status = ORION_OK;
  if (log->fd < 0) status = ORION_FAIL(err, ORION_IO, "%s: cannot open: %s", path, strerror(errno));
  if (status == ORION_OK && !log->path) status = ORION_OOM(err, path);
  if (status != ORION_OK) {
    orion_train_log_close(log);
    return status;
  }
  *out = log;
  return ORION_OK;
}

void orion_train_log_close(orion_train_log *log) {
  if (!log) return;
  if (log->fd >= 0) close(log->fd);
  orion_strfree(log->allocator, log->path);
  orion_strbuf_deinit(&log->line);
  orion_free(log->allocator, log, 1, sizeof *log);
}

orion_status orion_train_log_step(orion_train_log *log, const orion_train_metrics *m, double rss_mb, const double *eval_loss,
                                  orion_error *err) {
  orion_strbuf *b = &log->line;
  orion_strbuf_clear(b);
  orion_strbuf_addf(b, "{\"step\": %lld, \"loss\": %.9g, \"lr\": %.9g, ", (long long)m->step, m->loss, m->lr);
  if (m->skipped) {
    orion_strbuf_addf(b, "\"grad_norm\": null, \"skipped\": \"%s\", \"loss_scale\": %g, ", m->skipped_weight, m->loss_scale);
  } else {
    orion_strbuf_addf(b, "\"grad_norm\": %.9g, ", m->grad_norm);
  }
  orion_strbuf_addf(b, "\"tokens\": %llu, \"tok_s\": %.6g, \"step_ms\": %.6g, \"update_ms\": %.4g, ",
                    (unsigned long long)m->tokens, m->tok_s, m->step_ms, m->update_ms);
  orion_strbuf_addf(b, "\"device_ms\": %.6g, \"optimizer_ms\": %.6g, \"rss_mb\": %.1f", m->device_ms, m->optimizer_ms,
                    rss_mb);
  if (m->comm_ms > 0) orion_strbuf_addf(b, ", \"comm_ms\": %.4g", m->comm_ms);
  if (eval_loss) orion_strbuf_addf(b, ", \"eval_loss\": %.9g", *eval_loss);
  orion_strbuf_adds(b, "}\n");
  ORION_TRY(orion_strbuf_status(b, err));
  for (size_t done = 0; done < b->size;) {
    ssize_t n = write(log->fd, b->data + done, b->size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ORION_FAIL(err, ORION_IO, "%s: cannot write: %s", log->path, strerror(errno));
    done += (size_t)n;
  }
  return ORION_OK;
}

// ---- reading ----

static orion_status add_point(void *ctx, const char *line, size_t n, const json_t *value, orion_error *err) {
  orion_curve *c = ctx;
  const json_t *step = json_object_get(value, "step"), *loss = json_object_get(value, "loss");
  const json_t *eval = json_object_get(value, "eval_loss");
  if (!json_is_integer(step) || !json_is_number(loss)) {
    return ORION_FAIL(err, ORION_FORMAT, "a line of the log lacks step or loss (is it the log of a run?)");
  }
  if (!ORION_GROW(c->allocator, &c->train, &c->cap_train, c->n_train + 1)) return ORION_OOM(err, "curve");
  c->train[c->n_train++] = (orion_curve_point){json_integer_value(step), json_number_value(loss)};
  if (!json_is_number(eval)) return ORION_OK;
  if (!ORION_GROW(c->allocator, &c->eval, &c->cap_eval, c->n_eval + 1)) return ORION_OOM(err, "curve");
  c->eval[c->n_eval++] = (orion_curve_point){json_integer_value(step), json_number_value(eval)};
  return ORION_OK;
}

orion_status orion_curve_read(const orion_allocator *a, const char *path, orion_curve *out, orion_error *err) {
  *out = (orion_curve){.allocator = orion_allocator_or_default(a)};
  orion_status status = each_line(path, add_point, out, err);
  if (status == ORION_OK && out->n_train == 0) status = ORION_FAIL(err, ORION_FORMAT, "%s: the log has no steps", path);
  if (status != ORION_OK) orion_curve_free(out);
  return status;
}

void orion_curve_free(orion_curve *c) {
  orion_free(c->allocator, c->train, c->cap_train, sizeof *c->train);
  orion_free(c->allocator, c->eval, c->cap_eval, sizeof *c->eval);
  *c = (orion_curve){.allocator = c->allocator};
}
