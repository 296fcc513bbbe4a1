// orion probe: asks a device about each rule of the catalogue that can be asked, one small program or sequence each, and
// says whether the answer agrees. The simulator is asked in this process. A real engine is asked by a process of its own for
// each rule: compiles are counted by process, and what kills a process must kill no other answer.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/commands.h"
#include "probe/probe.h"

enum { TIMEOUT_S = 60, MAX_ANSWER = 1 << 16 };

static const cli_option options[] = {
    {"only", 0, CLI_TEXT, "RULE", "this rule only (C07)", true},
    {"destructive", 0, CLI_FLAG, NULL, "ask also what spends or kills a process, each in its own (always, of a simulator)", false},
    {"resume", 0, CLI_TEXT, "FILE", "keep answers in FILE as they come; ask only what it lacks", false},
    {"update-target", 0, CLI_TEXT, "FILE", "write a target with the measured numbers, for --target and sim:m4,target=FILE", false},
    {"here", 0, CLI_FLAG, NULL, "in this process, whatever the device", false},
    {0},
};

typedef struct session {
  const cli_args *args;
  const char *device;
  const orion_target *family;
  bool simulated, here, keeps_time;
  int threads;
  json_t *rows;                 // answers so far
} session;

static bool wanted(const cli_args *a, const orion_rule *r) {
  if (!cli_flag(a, "only")) return true;
  for (size_t i = 0; cli_nth(a, "only", i); i++) {
    orion_rule_id id = orion_rule_find(cli_nth(a, "only", i));
    if (id != ORION_RULES && orion_rule_row(id) == r) return true;
  }
  return false;
}

// ---- rows ----

static json_t *row_json(const orion_probe_result *x) {
  const orion_rule *r = orion_rule_row(x->rule);
  json_t *agrees = x->verdict == ORION_VERDICT_AGREES      ? json_true()
                   : x->verdict == ORION_VERDICT_DISAGREES ? json_false()
                                                           : json_null();
  json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:s}", "rule", r->id, "title", r->title, "expected", x->expected,
                          "observed", x->observed, "agrees", agrees, "skipped", x->verdict == ORION_VERDICT_SKIPPED, "note",
                          x->note);
  if (x->limit) {
    json_object_set_new(row, "limit", json_string(x->limit));
    json_object_set_new(row, "value", json_real(x->value));
  }
  return row;
}

static json_t *find_row(const json_t *rows, const char *rule) {
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) {
    const char *id = json_string_value(json_object_get(row, "rule"));
    if (id && strcmp(id, rule) == 0) return row;
  }
  return NULL;
}

// ---- a process of its own ----

// Reads what the child says until it ends or takes too long. False: too long.
static bool read_answer(int fd, char *out, size_t size) {
  size_t used = 0;
  double end = orion_now() + TIMEOUT_S;
  for (;;) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    double left = end - orion_now();
    if (left <= 0) return false;
    if (poll(&p, 1, (int)(left * 1000) + 1) <= 0) continue;
    char extra[512];
    ssize_t n = used + 1 < size ? read(fd, out + used, size - 1 - used) : read(fd, extra, sizeof extra);
    if (n <= 0) break;
    used += used + 1 < size ? (size_t)n : 0;
    out[used] = 0;
  }
  return true;
}

static orion_status start(const session *s, const orion_rule *r, pid_t *out_pid, int *out_fd, orion_error *err) {
  char self[4096];
  int ends[2];
  ORION_TRY(cli_own_path(self, sizeof self, err));
  if (pipe(ends) != 0) return ORION_FAIL(err, ORION_IO, "probe: no pipe: %s", strerror(errno));
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  char id[16];
  snprintf(id, sizeof id, "%s", r->id);
  char *argv[] = {self, (char[]){"probe"}, (char[]){"--here"}, (char[]){"--json"}, (char[]){"--destructive"}, (char[]){"--device"},
                  (char *)(uintptr_t)s->device, (char[]){"--only"}, id, NULL};
  extern char **environ;
  int failed = posix_spawn(out_pid, self, &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed) {
    close(ends[0]);
    return ORION_FAIL(err, ORION_IO, "probe: %s: %s", self, strerror(failed));
  }
  *out_fd = ends[0];
  return ORION_OK;
}

// What the end of the child means where it said nothing.
static void judge_end(orion_probe_result *x, const orion_rule *r, bool in_time, int status) {
  x->verdict = ORION_VERDICT_UNCLEAR;
  snprintf(x->expected, sizeof x->expected, "%.250s", r->statement);
  if (!in_time) {
    snprintf(x->observed, sizeof x->observed, "no answer within %d s", TIMEOUT_S);
  } else if (WIFSIGNALED(status)) {
    snprintf(x->observed, sizeof x->observed, "the process died of signal %d", WTERMSIG(status));
    if (r->symptom == ORION_SYMPTOM_CRASH) x->verdict = ORION_VERDICT_AGREES;
  } else {
    snprintf(x->observed, sizeof x->observed, "the process ended with status %d", WEXITSTATUS(status));
  }
}

static orion_status ask_apart(const session *s, orion_rule_id id, json_t **out, orion_error *err) {
  static char answer[MAX_ANSWER];
  const orion_rule *r = orion_rule_row(id);
  orion_probe_result x = {.rule = id};
  pid_t pid;
  int fd, status = 0;
  double began = orion_now();
  answer[0] = 0;
  ORION_TRY(start(s, r, &pid, &fd, err));
  bool in_time = read_answer(fd, answer, sizeof answer);
  if (!in_time) kill(pid, SIGKILL);
  close(fd);
  waitpid(pid, &status, 0);
  double seconds = orion_now() - began;
  json_t *object = json_loads(answer, 0, NULL), *row = find_row(json_object_get(object, "rows"), r->id);
  if (row) {
    *out = json_incref(row);
  } else {
    judge_end(&x, r, in_time, status);
    *out = row_json(&x);
  }
  json_decref(object);
  if (id == ORION_RULE_C15 && s->keeps_time && row && json_is_null(json_object_get(row, "agrees"))) {  // this is what it asks
    x.verdict = seconds * 1e3 <= 2 * s->family->restart_ms ? ORION_VERDICT_AGREES : ORION_VERDICT_DISAGREES;
    x.limit = "restart_ms";
    x.value = seconds * 1e3;
    orion_rule_statement(r, s->family, x.expected, sizeof x.expected);
    snprintf(x.observed, sizeof x.observed, "%.0f ms until a new process had answered", x.value);
    json_decref(*out);
    *out = row_json(&x);
  }
  return ORION_OK;
}

// ---- the whole list ----

static orion_status ask(const session *s, orion_rule_id id, json_t **out, orion_error *err) {
  orion_probe_result x;
  if (!s->simulated && !s->here && orion_probe_is_destructive(id) && !cli_flag(s->args, "destructive")) {
    x = (orion_probe_result){.rule = id, .verdict = ORION_VERDICT_SKIPPED};
    snprintf(x.expected, sizeof x.expected, "%.250s", orion_rule_row(id)->statement);
    snprintf(x.note, sizeof x.note, "spends or kills its process: ask with --destructive");
    *out = row_json(&x);
    return ORION_OK;
  }
  if (!s->simulated && !s->here) return ask_apart(s, id, out, err);
  ORION_TRY(orion_probe(s->device, s->threads, id, NULL, &x, err));
  *out = row_json(&x);
  return ORION_OK;
}

static void print_row(const json_t *row) {
  const json_t *agrees = json_object_get(row, "agrees");
  const char *verdict = json_is_true(agrees)                                ? "agrees"
                        : json_is_false(agrees)                             ? "DISAGREES"
                        : json_is_true(json_object_get(row, "skipped")) ? "not asked"
                                                                            : "unclear";
  const char *note = json_string_value(json_object_get(row, "note"));
  printf("%-4s %-10s %s\n", json_string_value(json_object_get(row, "rule")), verdict,
         json_string_value(json_object_get(row, "title")));
  if (json_is_false(agrees)) printf("                expected  %s\n", json_string_value(json_object_get(row, "expected")));
  const char *observed = json_string_value(json_object_get(row, "observed"));
  if (observed && *observed) printf("                %s%s\n", json_is_false(agrees) ? "observed  " : "", observed);
  if (note && *note) printf("                %s\n", note);
  fflush(stdout);
}

static json_t *whole(const session *s) {
  return json_pack("{s:o, s:s, s:s, s:O}", "device", cli_json_text(s->device), "family", s->family->name, "commit", cli_commit,
                   "rows", s->rows);
}

static orion_status write_json(const char *path, json_t *object, orion_error *err) {
  char *text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
  json_decref(object);
  if (!text) return ORION_OOM(err, path);
  orion_status status = orion_file_write(NULL, path, text, strlen(text), err);
  cli_free_json_text(text);
  return status;
}

static orion_status read_resume(session *s, orion_error *err) {
  const char *path = cli_text(s->args, "resume", NULL);
  char *text;
  size_t n;
  if (!path || !orion_file_exists(path)) return ORION_OK;
  ORION_TRY(orion_file_read(NULL, path, (size_t)16 << 20, &text, &n, err));
  json_t *object = json_loadb(text, n, 0, NULL);
  orion_free(NULL, text, n + 1, 1);
  const char *device = json_string_value(json_object_get(object, "device"));
  bool same = device && strcmp(device, s->device) == 0 && json_is_array(json_object_get(object, "rows"));
  if (same) json_array_extend(s->rows, json_object_get(object, "rows"));
  json_decref(object);
  if (!same) return ORION_FAIL(err, ORION_FORMAT, "%s: these are no answers of device %s", path, s->device);
  return ORION_OK;
}

static orion_status ask_all(session *s, orion_error *err) {
  const char *resume = cli_text(s->args, "resume", NULL);
  for (int i = 0; i < ORION_RULES; i++) {
    orion_rule_id id = (orion_rule_id)i;
    const orion_rule *r = orion_rule_row(id);
    json_t *row = find_row(s->rows, r->id);
    if (!orion_probe_exists(id) || !wanted(s->args, r)) continue;
    bool known = row && !json_is_true(json_object_get(row, "skipped"));
    if (!known) {
      json_t *fresh;
      ORION_TRY(ask(s, id, &fresh, err));
      size_t at = 0;
      while (row && json_array_get(s->rows, at) != row) at++;
      if (row) {
        json_array_set_new(s->rows, at, fresh);
      } else {
        json_array_append_new(s->rows, fresh);
      }
      row = fresh;
      if (resume) ORION_TRY(write_json(resume, whole(s), err));
    }
    if (!s->args->json) print_row(row);
  }
  return ORION_OK;
}

static orion_status write_target(const session *s, const char *path, orion_error *err) {
  json_t *limits = json_object();
  size_t i;
  json_t *row;
  json_array_foreach(s->rows, i, row) {
    const char *limit = json_string_value(json_object_get(row, "limit"));
    if (limit) json_object_set(limits, limit, json_object_get(row, "value"));
  }
  return write_json(path, json_pack("{s:s, s:s, s:o}", "family", s->family->name, "device", s->device, "limits", limits), err);
}

static orion_status check_only(const cli_args *a, orion_error *err) {
  for (size_t i = 0; cli_nth(a, "only", i); i++) {
    orion_rule_id id = orion_rule_find(cli_nth(a, "only", i));
    if (id == ORION_RULES) return CLI_USAGE(err, "--only: there is no rule \"%s\" (docs/rules.md)", cli_nth(a, "only", i));
    if (!orion_probe_exists(id)) return CLI_USAGE(err, "--only: rule %s has no probe (docs/rules.md)", orion_rule_row(id)->id);
  }
  return ORION_OK;
}

static orion_status report(const session *s, orion_error *err) {
  int counts[3] = {0};
  size_t i;
  json_t *row;
  json_array_foreach(s->rows, i, row) {
    const json_t *agrees = json_object_get(row, "agrees");
    counts[json_is_true(agrees) ? 0 : json_is_false(agrees) ? 1 : 2]++;
  }
  if (s->args->json) {
    json_t *object = whole(s);
    json_object_set_new(object, "agree", json_integer(counts[0]));
    json_object_set_new(object, "disagree", json_integer(counts[1]));
    json_object_set_new(object, "open", json_integer(counts[2]));
    cli_print_json(object);
  } else {
    printf("%s (%s): %d agree, %d disagree, %d open\n", s->device, s->family->name, counts[0], counts[1], counts[2]);
  }
  const char *target = cli_text(s->args, "update-target", NULL);
  return target ? write_target(s, target, err) : ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  session s = {.args = a, .device = cli_text(a, "device", "ane"), .here = cli_flag(a, "here")};
  s.simulated = strncmp(s.device, "sim", 3) == 0;
  ORION_TRY(cli_threads(a, &s.threads, err));
  ORION_TRY(check_only(a, err));
  s.family = orion_probe_family(s.device, &s.keeps_time, err);
  if (!s.family && !cli_flag(a, "device")) {
    orion_error missing = *err;
    return ORION_FAIL(err, missing.code, "%s; a simulated one can be asked: --device sim:m4", missing.message);
  }
  if (!s.family) return err->code;
  s.rows = json_array();
  orion_status status = read_resume(&s, err);
  if (status == ORION_OK) status = ask_all(&s, err);
  if (status == ORION_OK) status = report(&s, err);
  json_decref(s.rows);
  return status;
}

const cli_command cli_command_probe = {
    "probe", "", "Ask a device (default: ane) what is true of it, rule by rule.", "orion probe --device sim:m4 --json", options, 0, 0, run};
