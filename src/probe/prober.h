// What probes share: the device, what was seen so far, and small programs as text.
#ifndef ORION_PROBE_PROBER_H
#define ORION_PROBE_PROBER_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "device/raw.h"
#include "probe/probe.h"

typedef struct prober {
  orion_device *d;
  const orion_raw_vtable *raw;
  const orion_target *t;
  orion_rule_id rule;
  bool keeps_time;        // its seconds mean something
  bool names_rules;       // the device knows which rule it refuses by (the simulator): another one is no answer
  orion_arena arena;      // texts, files
  orion_probe_result *out;
  bool unclear;           // something else went wrong; `note` says what
  orion_status status;    // not OK: ours, see err
  orion_error *err;
} prober;

// A probe: says what it saw, and whether the row's statement held.
typedef bool (*probe_fn)(prober *p);

typedef struct probe_row {
  orion_rule_id rule;
  probe_fn ask;
  bool destructive;
} probe_row;

const probe_row *probe_compile_rows(size_t *out_n);   // programs that compile, or not
const probe_row *probe_request_rows(size_t *out_n);   // surfaces
const probe_row *probe_number_rows(size_t *out_n);    // arithmetic
const probe_row *probe_process_rows(size_t *out_n);   // budgets, reloads, identities
const probe_row *probe_swap_rows(size_t *out_n);      // adapters
const probe_row *probe_time_rows(size_t *out_n);      // of devices that keep time

// ---- programs as text ----

#define TYPE(dims) "tensor<fp16, [" dims "]>"
#define X TYPE("1, 64, 1, 32")  // packed rows and padded rows are the same
#define X_BYTES (64 * 32 * 2)
#define X_ELEMENTS (64 * 32)
#define FUNCTION(params, body, results)                                                                          \
  "program(1.3)\n[buildInfo = dict<string, string>({{\"coremltools-version\", \"9.0\"}})]\n{\nfunc main<ios18>(" params \
  ") {\n" body "} -> (" results ");\n}\n"
#define OP(type, name, call) type " " name " = " call "[name = string(\"" name "\")];\n"
#define CONST(type, name, value) type " " name " = const()[name = string(\"" name "\"), val = " type "(" value ")];\n"
#define BLOB(type, name, file, offset) \
  CONST(type, name, "BLOBFILE(path = string(\"@model_path/" file "\"), offset = uint64(" offset "))")
#define INTS(name, n, values) CONST("tensor<int32, [" n "]>", name, "[" values "]")
#define CONV_ARGS                                                                                            \
  CONST("string", "pt", "\"valid\"") INTS("st", "2", "1, 1") INTS("pd", "4", "0, 0, 0, 0") CONST("int32", "gr", "1")
#define CONV_CALL(extra) "conv(" extra "dilations = st, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)"
#define MATMUL_CALL(a, b) "matmul(transpose_x = no, transpose_y = no, x = " a ", y = " b ")"
#define NO CONST("bool", "no", "false")

// ---- what all probes do ----

// Remembers the first failure of ours; false: go on, there is none.
bool probe_failed(prober *p);
void probe_see(prober *p, const char *format, ...) ORION_PRINTF(2, 3);    // appends to `observed`, with "; " between
void probe_note(prober *p, const char *format, ...) ORION_PRINTF(2, 3);   // the reason why nothing can be said
void probe_measure(prober *p, const char *limit, double value);

// A text or a blob file in the arena. Blob files are called weights/weight.bin and weights/weight_1.bin, as the compiler names
// them; they hold `count` tensors of `elements` fp16 numbers, all `value`; record i
// is at 64 + i * probe_pitch(elements).
const char *probe_text(prober *p, const char *format, ...) ORION_PRINTF(2, 3);
orion_raw_file probe_blob(prober *p, const char *path, size_t elements, size_t count, float value);
size_t probe_pitch(size_t elements);

// Compiles and loads; NULL: refused (or failed), see the answer.
orion_raw *probe_compile(prober *p, const char *text, const orion_raw_file *files, size_t n, unsigned mistakes,
                         orion_answer *answer);
// Loads once more what is compiled and held of a program without weights.
orion_raw *probe_load(prober *p, const char *text, orion_answer *answer);
void probe_release(prober *p, orion_raw *r);
// Whether it compiles; a refusal under another rule's name leaves the matter unclear.
bool probe_compiles(prober *p, const char *text, const orion_raw_file *files, size_t n);
// Whether an answer is a refusal that this row explains.
bool probe_is_refusal(prober *p, const orion_answer *a);
const char *probe_answer_text(const orion_answer *a, char *out, size_t size);  // "compiles", "refused when run (0x1d)"

// ---- surfaces ----

typedef struct probe_surface {
  orion_surface *s;
  uint16_t *words;        // fp16
  size_t n;               // words
} probe_surface;

bool probe_surface_make(prober *p, size_t bytes, float fill, probe_surface *out);  // false: failed
void probe_surface_free(probe_surface *s);
// One run; false: refused, see the answer.
bool probe_run(prober *p, orion_raw *r, const probe_surface *in, size_t n_in, const probe_surface *out, size_t n_out,
               orion_answer *answer);
float probe_word(const probe_surface *s, size_t i);
void probe_set(probe_surface *s, size_t i, float value);

#endif
