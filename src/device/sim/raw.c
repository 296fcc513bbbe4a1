// The simulated engine without the contract's help (device/raw.h): a program as text and files, surfaces by position and
// of any size. Here the rules about requests show: order of names, sizes, strides, slots, identity, reloading.
//
// A program is checked in the engine's own order: what would kill the process, the directory, the budget, the text, its
// weight files, the rules of programs, at last the slot. The first that objects is the answer.
#include "device/raw.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "device/layout.h"
#include "device/sim/plan.h"
#include "mil/blob.h"
#include "mil/mil.h"
#include "mil/walk.h"

typedef struct sim_raw {
  orion_raw base;
  orion_program *program;
  orion_executable *e;
  orion_surface **bounce;       // [n_ios]: as the executable wants them
  size_t *order;                // [n_ios]: io of each position, inputs first
  char *text;                   // for reloading; n_text bytes
  size_t n_text;
} sim_raw;

static orion_sim_rules *rules_of(orion_device *d) { return &((orion_sim_device *)d)->rules; }

static void answer_no(orion_answer *answer, orion_symptom symptom, orion_rule_id id, const char *text) {
  answer->symptom = symptom;
  answer->rule = id;
  answer->status = id == ORION_RULES ? 0 : orion_rule_row(id)->status;
  if (!answer->status && symptom == ORION_SYMPTOM_COMPILE) answer->status = ORION_STATUS_COMPILE;
  snprintf(answer->text, sizeof answer->text, "%.*s", (int)sizeof answer->text - 1, text);
}

// ---- weights from memory ----

typedef struct binder {
  orion_program *program;
  const orion_raw_file *files;
  size_t n;
  bool any_offset;              // C08 off: bytes as they lie there
} binder;

static const orion_raw_file *file_of(const binder *b, const char *path) {
  static const char prefix[] = "@model_path/";
  if (strncmp(path, prefix, sizeof prefix - 1) == 0) path += sizeof prefix - 1;
  for (size_t i = 0; i < b->n; i++) {
    const char *name = b->files[i].path;
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
    if (strcmp(name, path) == 0) return &b->files[i];
  }
  return NULL;
}

static orion_status give(binder *b, orion_literal *l, const void *bytes, orion_error *err) {
  size_t elements, rows = l->type->rank ? (size_t)l->type->dims[0] : 1;
  if (!orion_type_elements(l->type, &elements)) return ORION_FAIL(err, ORION_FORMAT, "a constant has no definite size");
  l->data = orion_data_copy(b->program->data, l->type->dtype, rows, rows ? elements / rows : 0, bytes);
  return l->data ? ORION_OK : ORION_OOM(err, "sim: weights");
}

static orion_status bind_literal(void *ctx, const orion_mil_place *at, orion_literal *l, orion_error *err) {
  binder *b = ctx;
  if (l->kind != ORION_LIT_BLOB || l->data) return ORION_OK;
  const orion_raw_file *file = file_of(b, l->blob_path);
  if (!file) return ORION_FAIL(err, ORION_FORMAT, "%s: no such weight file", l->blob_path);
  size_t size;
  if (!orion_type_bytes(l->type, &size)) return ORION_FAIL(err, ORION_FORMAT, "%s: a type without a size", at->name);
  orion_blob_file *blob;
  orion_blob_tensor t = {0};
  orion_status status = orion_blob_open_memory(b->program->allocator, file->path, file->bytes, file->n, &blob, err);
  if (status == ORION_OK) {
    status = orion_blob_find(blob, l->blob_offset, &t, err);
    orion_blob_close(blob);
  }
  if (status == ORION_OK && (t.size != size || t.dtype != l->type->dtype)) {
    status = ORION_FAIL(err, ORION_FORMAT, "%s: the record at %llu is of another type or size", file->path,
                        (unsigned long long)l->blob_offset);
  }
  if (status == ORION_OK) return give(b, l, t.bytes, err);
  if (status == ORION_NO_MEMORY || !b->any_offset || l->blob_offset > file->n || file->n - l->blob_offset < size) {
    return status;
  }
  return give(b, l, (const uint8_t *)file->bytes + l->blob_offset, err);
}

// ---- compiling ----

// The same text and files give the same name: what the system calls a program (C41).
static void identity_of(const orion_raw_program *p, uint64_t out[2]) {
  XXH128_hash_t h = XXH3_128bits(p->text, p->n_text);
  for (size_t f = 0; f < p->n_files; f++) {
    XXH128_hash_t of[3] = {h, XXH3_128bits(p->files[f].path, strlen(p->files[f].path)),
                           XXH3_128bits(p->files[f].bytes, p->files[f].n)};
    h = XXH3_128bits(of, sizeof of);
  }
  out[0] = h.low64;
  out[1] = h.high64;
}

static bool mistaken(const orion_sim_rules *r, const orion_raw_program *p, orion_answer *answer) {
  static const struct {
    unsigned mistake;
    orion_rule_id rule;
    orion_symptom symptom;
    const char *text;
  } mistakes[] = {
      {ORION_RAW_TEXT_AS_STRING, ORION_RULE_C09, ORION_SYMPTOM_CRASH, "-[__NSCFString bytes]: unrecognized selector"},
      {ORION_RAW_NO_DICTIONARY, ORION_RULE_C11, ORION_SYMPTOM_CRASH, "no descriptor: the weights dictionary is nil"},
      {ORION_RAW_NO_DIRECTORY, ORION_RULE_C25, ORION_SYMPTOM_COMPILE, "ANECCompile() FAILED: no model.mil there"},
  };
  for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
    if (!(p->mistakes & mistakes[i].mistake) || !orion_sim_rules_play(r, mistakes[i].rule)) continue;
    answer_no(answer, mistakes[i].symptom, mistakes[i].rule, mistakes[i].text);
    return true;
  }
  return false;
}

// The verifier's objections that a switched-off rule takes back.
static bool taken_back(const orion_sim_rules *r, const orion_finding *x, const orion_function *f) {
  if (x->op == ORION_NONE && f && strcmp(x->rule, "name") == 0) return orion_sim_rules_off(r, ORION_RULE_C14);
  if (x->op == ORION_NONE || !f) return false;
  return f->ops[x->op].code == ORION_OP_conv && orion_sim_rules_off(r, ORION_RULE_C13) && strstr(x->message, "bias");
}

// The findings that decide: of a rule before any other. False: nothing stands against the program.
static bool objected(const orion_sim_rules *r, const orion_program *p, const orion_findings *l, orion_answer *answer) {
  const orion_finding *chosen = NULL;
  orion_rule_id rule = ORION_RULES;
  for (size_t i = 0; i < l->n; i++) {
    const orion_finding *x = &l->items[i];
    orion_rule_id id = orion_rule_find(x->rule);
    if (!x->fatal || (chosen && (rule != ORION_RULES || id == ORION_RULES))) continue;
    if (id != ORION_RULES && orion_rule_row(id)->play == ORION_PLAY_RUN) continue;  // seen when it runs
    if (id == ORION_RULES && taken_back(r, x, p->n_functions ? p->functions[0] : NULL)) continue;
    chosen = x;
    rule = id;
  }
  if (!chosen) return false;
  char text[192];
  snprintf(text, sizeof text, "%s: %s", chosen->rule, chosen->message);
  bool load = rule != ORION_RULES && orion_rule_row(rule)->play == ORION_PLAY_LOAD;
  answer_no(answer, load ? ORION_SYMPTOM_LOAD : ORION_SYMPTOM_COMPILE, rule, text);
  return true;
}

// C14 off: what is returned without being there is left out; L10 off: so are inputs, which have their surface already.
static void forget_outputs(const orion_sim_rules *r, orion_program *p) {
  for (size_t i = 0; i < p->n_functions; i++) {
    orion_function *f = p->functions[i];
    size_t kept = 0;
    for (size_t k = 0; k < f->n_outputs; k++) {
      const orion_value *v = &f->values[f->outputs[k]];
      bool undefined = v->def == ORION_NONE && v->index == ORION_NONE, input = v->def == ORION_NONE && !undefined;
      if (undefined && orion_sim_rules_off(r, ORION_RULE_C14)) continue;
      if (input && orion_sim_rules_off(r, ORION_RULE_L10)) continue;
      f->outputs[kept++] = f->outputs[k];
    }
    f->n_outputs = kept;
  }
}

// L02 off: open dimensions are closed at 32.
static orion_status close_shapes(orion_program *p, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    orion_function *f = p->functions[i];
    for (size_t v = 0; v < f->n_values; v++) {
      const orion_type *t = f->values[v].type;
      int64_t dims[ORION_MAX_RANK];
      if (!orion_type_is_tensor(t) || orion_type_is_static(t)) continue;
      for (int k = 0; k < t->rank; k++) dims[k] = t->dims[k] == ORION_DIM_UNKNOWN ? 32 : t->dims[k];
      f->values[v].type = orion_type_tensor(p, t->dtype, t->rank, dims);
      if (!f->values[v].type) return ORION_OOM(err, "sim: program");
    }
  }
  return ORION_OK;
}

orion_status orion_sim_read(orion_device *d, const orion_raw_program *raw, orion_program **out, orion_answer *answer,
                            orion_error *err) {
  orion_sim_rules *r = rules_of(d);
  orion_program *p = NULL;
  orion_error local = {0};
  orion_findings findings;
  orion_findings_init(&findings, d->allocator);
  orion_status status = orion_mil_parse(d->allocator, raw->text, raw->n_text, "text", &p, &local);
  bool refused = status != ORION_OK && status != ORION_NO_MEMORY;
  if (refused) answer_no(answer, ORION_SYMPTOM_COMPILE, ORION_RULES, local.message);
  if (status == ORION_OK) {
    binder b = {p, raw->files, raw->n_files, orion_sim_rules_off(r, ORION_RULE_C08)};
    status = orion_mil_walk(p, bind_literal, &b, &local);
    refused = status != ORION_OK && status != ORION_NO_MEMORY;
    if (refused) answer_no(answer, ORION_SYMPTOM_COMPILE, ORION_RULE_C08, local.message);
  }
  if (status == ORION_OK) status = orion_verify(p, &findings, &local);
  bool sound = true;  // only a program that verifies can be checked further
  for (size_t i = 0; i < findings.n; i++) {
    sound = sound && (!findings.items[i].fatal || taken_back(r, &findings.items[i], p->functions[0]));
  }
  if (status == ORION_OK && !sound && r->target) status = orion_target_check_unsound(r->target, p, &findings, &local);
  if (status == ORION_OK && sound) forget_outputs(r, p);
  if (status == ORION_OK && sound && orion_sim_rules_off(r, ORION_RULE_L02)) status = close_shapes(p, &local);
  if (status == ORION_OK && sound) status = d->vtable->supports(d, p, &findings, &local);
  if (status == ORION_OK && objected(r, p, &findings, answer)) refused = true;
  orion_findings_deinit(&findings);
  if (refused || status != ORION_OK) {
    orion_program_destroy(p);
    if (refused) return ORION_OK;
    return ORION_FAIL(err, status, "%s", local.message);
  }
  *out = p;
  return ORION_OK;
}

// Positions go by the sorted names, or (the rule switched off) as declared.
static void sort_ios(size_t *order, size_t n, const orion_io *ios) {
  for (size_t i = 1; i < n; i++) {
    for (size_t k = i; k > 0 && strcmp(ios[order[k - 1]].name, ios[order[k]].name) > 0; k--) {
      size_t t = order[k];
      order[k] = order[k - 1];
      order[k - 1] = t;
    }
  }
}

static void raw_clear(sim_raw *s) {
  const orion_allocator *a = s->base.device->allocator;
  for (size_t i = 0; s->bounce && i < s->e->n_ios; i++) orion_surface_destroy(s->bounce[i]);
  if (s->e) {
    orion_free(a, s->bounce, s->e->n_ios, sizeof *s->bounce);
    orion_free(a, s->order, s->e->n_ios, sizeof *s->order);
    orion_executable_release(s->e);
  }
  orion_program_destroy(s->program);
  orion_free(a, s->text, s->n_text, 1);
}

static void raw_free(sim_raw *s) {
  raw_clear(s);
  orion_free(s->base.device->allocator, s, 1, sizeof *s);
}

static orion_status make(sim_raw *s, const orion_raw_program *raw, orion_error *err) {
  orion_device *d = s->base.device;
  orion_sim_rules *r = rules_of(d);
  if (s->program->n_functions == 0) return ORION_FAIL(err, ORION_REFUSED, "the program has no function");
  ORION_TRY(d->vtable->compile(d, s->program, s->program->functions[0], &s->e, err));
  s->bounce = orion_alloc_zero(d->allocator, s->e->n_ios, sizeof *s->bounce);
  s->order = orion_alloc_zero(d->allocator, s->e->n_ios, sizeof *s->order);
  if (!s->text) {
    s->n_text = raw->n_text;
    s->text = orion_alloc(d->allocator, raw->n_text, 1);
    if (s->text) memcpy(s->text, raw->text, raw->n_text);
  }
  if (!s->bounce || !s->order || !s->text) return ORION_OOM(err, "sim: program");
  size_t n = s->e->n_ios, n_in = s->e->n_inputs;
  for (size_t i = 0; i < n; i++) {
    s->order[i] = i;
    ORION_TRY(orion_surface_create(d, &s->e->ios[i].layout, &s->bounce[i], err));
  }
  if (orion_sim_rules_play(r, ORION_RULE_C19)) sort_ios(s->order, n_in, s->e->ios);
  if (orion_sim_rules_play(r, ORION_RULE_C03)) sort_ios(s->order + n_in, n - n_in, s->e->ios);
  return ORION_OK;
}

// A compile of text that this device compiled before is found. Remembered by 64 bits in a small table.
static bool seen_before(orion_sim_device *d, const orion_raw_program *p) {
  uint64_t id[2];
  identity_of(p, id);
  uint64_t *slot = &d->identities[id[0] % (sizeof d->identities / sizeof *d->identities)];
  bool seen = *slot == id[1];
  *slot = id[1];
  return seen && orion_sim_rules_play(&d->rules, ORION_RULE_C41);
}

static orion_status raw_compile(orion_device *d, const orion_raw_program *p, orion_raw **out, orion_answer *answer,
                                orion_error *err) {
  orion_sim_rules *r = rules_of(d);
  *out = NULL;
  *answer = (orion_answer){.rule = ORION_RULES};
  if (!r->target) return ORION_FAIL(err, ORION_UNSUPPORTED, "device sim:ideal: it is no engine (try sim:m4)");
  if (mistaken(r, p, answer)) return ORION_OK;
  if (orion_sim_rules_budget(r) && r->compiles >= orion_sim_rules_budget(r)) {
    answer_no(answer, ORION_SYMPTOM_COMPILE, ORION_RULE_C05, "ANECCompile() FAILED: the budget of the process is used up");
    return ORION_OK;
  }
  bool seen = seen_before((orion_sim_device *)d, p);
  orion_program *program = NULL;
  orion_status status = orion_sim_read(d, p, &program, answer, err);
  if (!program) {
    r->compiles++;
    return status;
  }
  answer->seconds = seen ? 0.001 : orion_sim_rules_compile_time(r, program->functions[0]);
  if (orion_sim_rules_play(r, ORION_RULE_C40) && r->loaded >= r->target->load_slots) {
    r->compiles++;
    orion_program_destroy(program);
    answer_no(answer, ORION_SYMPTOM_LOAD, ORION_RULE_C40, "Program load failure: 0x50004");
    return ORION_OK;
  }
  sim_raw *s = orion_alloc_zero(d->allocator, 1, sizeof *s);
  if (!s) {
    orion_program_destroy(program);
    return ORION_OOM(err, "sim: program");
  }
  *s = (sim_raw){.base = {d}, .program = program};
  status = make(s, p, err);
  if (status != ORION_OK) {
    raw_free(s);
    return status;
  }
  if (seen) r->compiles--;
  *out = &s->base;
  return ORION_OK;
}

// ---- running ----

static bool sizes_differ(orion_surface *const *s, size_t n) {
  for (size_t i = 1; i < n; i++) {
    if (s[i]->layout.bytes != s[0]->layout.bytes) return true;
  }
  return false;
}

static bool run_refused(sim_raw *s, const orion_raw_request *q, orion_answer *answer) {
  static const char inference[] = "ANEProgramProcessRequestDirect() Failed with status=0x1d : Program Inference error";
  const orion_sim_rules *r = rules_of(s->base.device);
  size_t n_in = s->e->n_inputs, n_out = s->e->n_ios - n_in;
  orion_rule_id broken = ORION_RULES;
  if (q->n_inputs != n_in || q->n_outputs != n_out) {
    answer_no(answer, ORION_SYMPTOM_RUN, ORION_RULES, inference);
    answer->status = ORION_STATUS_INFERENCE;
    return true;
  }
  if (orion_sim_rules_play(r, ORION_RULE_L09) &&
      (n_in > (size_t)r->target->max_inputs || n_out > (size_t)r->target->max_outputs)) {
    broken = ORION_RULE_L09;
  }
  if (orion_sim_rules_off(r, ORION_RULE_C35) && n_in > 1) broken = ORION_RULE_C35;
  if (orion_sim_rules_off(r, ORION_RULE_C18) && sizes_differ(q->inputs, n_in)) broken = ORION_RULE_C18;
  if (orion_sim_rules_off(r, ORION_RULE_C02) && sizes_differ(q->outputs, n_out)) broken = ORION_RULE_C02;
  for (size_t i = 0; i < s->e->n_ios && broken == ORION_RULES; i++) {
    const orion_surface *given = i < n_in ? q->inputs[i] : q->outputs[i - n_in];
    bool small = given->layout.bytes < s->e->ios[s->order[i]].layout.bytes;
    if (small && orion_sim_rules_play(r, ORION_RULE_C04)) broken = ORION_RULE_C04;
  }
  if (broken == ORION_RULES) return false;
  answer_no(answer, ORION_SYMPTOM_RUN, broken, inference);
  return true;
}

// Between a surface of whatever size and one as the executable wants it: rows at the tensor's own stride, or (C20 off)
// spread over the whole. What lies outside the given surface is not moved.
static void move_rows(const orion_sim_rules *r, orion_surface *given, orion_surface *own, bool in) {
  const orion_layout *l = &own->layout;
  size_t rows = orion_layout_rows(l), stride = l->row_bytes;
  if (orion_sim_rules_off(r, ORION_RULE_C20) && rows) stride = given->layout.bytes / rows;
  for (size_t i = 0; i < rows; i++) {
    size_t at = i * stride, n = l->row_bytes < stride ? l->row_bytes : stride;
    if (at >= given->layout.bytes) return;
    if (n > given->layout.bytes - at) n = given->layout.bytes - at;
    char *theirs = (char *)given->memory + at, *ours = (char *)own->memory + i * l->row_bytes;
    memcpy(in ? ours : theirs, in ? theirs : ours, n);
  }
}

static orion_status raw_run(orion_raw *raw, const orion_raw_request *q, orion_answer *answer, orion_error *err) {
  sim_raw *s = (sim_raw *)raw;
  const orion_sim_rules *r = rules_of(raw->device);
  *answer = (orion_answer){.rule = ORION_RULES};
  if (run_refused(s, q, answer)) return ORION_OK;
  size_t n_in = s->e->n_inputs;
  for (size_t i = 0; i < n_in; i++) move_rows(r, q->inputs[i], s->bounce[s->order[i]], true);
  ORION_TRY(raw->device->vtable->run(s->e, s->bounce, err));
  s->e->times.runs++;
  for (size_t i = n_in; i < s->e->n_ios; i++) move_rows(r, q->outputs[i - n_in], s->bounce[s->order[i]], false);
  answer->seconds = ((orion_sim_executable *)s->e)->seconds;
  return ORION_OK;
}

// By the model of costs: nothing runs.
static orion_status raw_clock(orion_raw *raw, const orion_raw_request *q, int times, orion_answer *answer, orion_error *err) {
  sim_raw *s = (sim_raw *)raw;
  *answer = (orion_answer){.rule = ORION_RULES};
  if (!run_refused(s, q, answer)) answer->seconds = ((orion_sim_executable *)s->e)->seconds;
  return ORION_OK;
}

// ---- reloading, identity, release ----

// What new files change (C07): nothing, or, the rule switched off, everything.
static orion_status raw_reload(orion_raw *raw, const orion_raw_file *files, size_t n, orion_raw_reload how,
                               orion_answer *answer, orion_error *err) {
  sim_raw *s = (sim_raw *)raw;
  orion_sim_rules *r = rules_of(raw->device);
  *answer = (orion_answer){.rule = ORION_RULES};
  if (orion_sim_rules_play(r, ORION_RULE_C07)) return ORION_OK;
  const orion_raw_program p = {.text = s->text, .n_text = s->n_text, .files = files, .n_files = n};
  orion_program *program = NULL;
  ORION_TRY(orion_sim_read(raw->device, &p, &program, answer, err));
  if (!program) return ORION_OK;
  sim_raw next = {.base = s->base, .program = program, .text = s->text, .n_text = s->n_text};
  orion_status status = make(&next, &p, err);
  r->compiles--;  // a load
  sim_raw *gone = status == ORION_OK ? s : &next, left = *gone;
  left.text = NULL;  // both have the same
  if (status == ORION_OK) *s = next;
  raw_clear(&left);
  return status;
}

static orion_status raw_identity(orion_device *d, const orion_raw_program *p, char *out, orion_error *err) {
  uint64_t id[2];
  identity_of(p, id);
  if (orion_sim_rules_off(rules_of(d), ORION_RULE_C41)) id[1] ^= ++((orion_sim_device *)d)->identities_asked;
  snprintf(out, 256, "%016llX%016llX", (unsigned long long)id[0], (unsigned long long)id[1]);
  return ORION_OK;
}

static void raw_release(orion_raw *raw, bool unload) {
  orion_sim_rules *r = rules_of(raw->device);
  if (!unload && orion_sim_rules_play(r, ORION_RULE_C27)) r->loaded++;  // as if nobody had left
  raw_free((sim_raw *)raw);
}

static orion_status raw_restart(orion_device *d, double *out_seconds, orion_error *err) {
  *out_seconds = orion_sim_rules_restart_time(rules_of(d));
  return ORION_OK;
}

const orion_raw_vtable orion_sim_raw = {
    .compile = raw_compile,
    .run = raw_run,
    .clock = raw_clock,
    .reload = raw_reload,
    .identity = raw_identity,
    .release = raw_release,
    .restart = raw_restart,
};
