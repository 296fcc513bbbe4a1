// Probes of requests: sizes, order and layout of surfaces.
#include "probe/prober.h"

enum { MOST = 40 };

typedef struct request {
  probe_surface in[MOST], out[MOST];
  size_t n_in, n_out;
} request;

static bool add_in(prober *p, request *q, size_t bytes, float fill) {
  return probe_surface_make(p, bytes, fill, &q->in[q->n_in]) && ++q->n_in;
}

static bool add_out(prober *p, request *q, size_t bytes) {
  return probe_surface_make(p, bytes, 0, &q->out[q->n_out]) && ++q->n_out;
}

static void free_request(request *q) {
  for (size_t i = 0; i < q->n_in; i++) probe_surface_free(&q->in[i]);
  for (size_t i = 0; i < q->n_out; i++) probe_surface_free(&q->out[i]);
}

// Compiles a program that must compile, runs it once. False: refused; says why in `observed`.
static bool run_text(prober *p, const char *text, const orion_raw_file *files, size_t n_files, request *q,
                     orion_answer *answer) {
  orion_raw *r = probe_compile(p, text, files, n_files, 0, answer);
  if (!r) {
    bool own = p->names_rules && answer->rule == p->rule;
    if (!probe_failed(p) && !own) probe_note(p, "does not compile: %.180s", answer->text);
    return false;
  }
  bool ran = probe_run(p, r, q->in, q->n_in, q->out, q->n_out, answer);
  probe_release(p, r);
  return ran;
}

static void see_answer(prober *p, const char *what, bool ran, const orion_answer *a) {
  char text[80];
  probe_see(p, "%s: %s", what, ran ? "runs" : probe_answer_text(a, text, sizeof text));
}

// ---- sizes ----

// Outputs a (64 channels) and b (128), of their own sizes.
static bool output_sizes(prober *p) {
  static const char text[] = FUNCTION(X " x", CONST("int32", "ax", "1") CONST("bool", "no", "false") OP(X, "a", "relu(x = x)")
      OP(TYPE("1, 128, 1, 32"), "b", "concat(axis = ax, interleave = no, values = (x, x))"), "a, b");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 3) && add_out(p, &q, X_BYTES) && add_out(p, &q, 2 * X_BYTES) &&
             run_text(p, text, NULL, 0, &q, &answer);
  see_answer(p, "outputs of 4,096 and 8,192 bytes", ran, &answer);
  bool right = ran && probe_word(&q.out[0], X_ELEMENTS - 1) == 3 && probe_word(&q.out[1], 2 * X_ELEMENTS - 1) == 3;
  if (ran && !right) probe_see(p, "wrong results");
  if (!ran) probe_is_refusal(p, &answer);
  free_request(&q);
  return right;
}

// 1 + 2, of one size.
static bool add_two(prober *p, bool *out_ran, orion_answer *answer) {
  static const char text[] = FUNCTION(X " a, " X " b", OP(X, "y", "add(x = a, y = b)"), "y");
  request q = {0};
  bool ran = add_in(p, &q, X_BYTES, 1) && add_in(p, &q, X_BYTES, 2) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, answer);
  bool right = ran && probe_word(&q.out[0], 0) == 3;
  free_request(&q);
  *out_ran = ran;
  return right;
}

// Whether something of several inputs was refused because there were several (C35); leaves the matter unclear then.
static bool are_two_refused(prober *p) {
  orion_answer answer = {.rule = ORION_RULES};
  bool ran;
  add_two(p, &ran, &answer);
  if (!ran && !p->unclear) probe_note(p, "two inputs of one size are refused too: %.160s", answer.text);
  return !ran;
}

static bool input_sizes(prober *p) {
  static const char text[] = FUNCTION(X " a, " TYPE("1, 1, 1, 32") " b", OP(X, "y", "add(x = a, y = b)"), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 3) && add_in(p, &q, 64, 4) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, &answer);
  see_answer(p, "inputs of 4,096 and 64 bytes", ran, &answer);
  bool right = ran && probe_word(&q.out[0], X_ELEMENTS - 1) == 7;
  if (ran && !right) probe_see(p, "wrong results");
  free_request(&q);
  if (!ran && probe_is_refusal(p, &answer)) are_two_refused(p);
  return right;
}

static bool run_relu(prober *p, const char *text, size_t bytes, const char *what, orion_answer *answer) {
  request q = {0};
  bool ran = add_in(p, &q, bytes, 1) && add_out(p, &q, bytes) && run_text(p, text, NULL, 0, &q, answer);
  see_answer(p, what, ran, answer);
  free_request(&q);
  return ran;
}

// Rows of 64 bytes, where packed and padded are the same: all of the surface, then half of it. Rows of 32 bytes, packed,
// are worth knowing too, but what that means is for S01 to say.
static bool surface_size(prober *p) {
  static const char text[] = FUNCTION(TYPE("1, 768, 1, 32") " x", OP(TYPE("1, 768, 1, 32"), "y", "relu(x = x)"), "y");
  static const char narrow[] = FUNCTION(TYPE("1, 768, 1, 16") " x", OP(TYPE("1, 768, 1, 16"), "y", "relu(x = x)"), "y");
  orion_answer answer = {.rule = ORION_RULES}, other = answer;
  bool whole = run_relu(p, text, 768 * 64, "49,152 bytes", &answer), half = run_relu(p, text, 768 * 32, "half of it", &answer);
  bool holds = whole && !half && probe_is_refusal(p, &answer);
  run_relu(p, narrow, 768 * 32, "rows of 32 bytes, packed", &other);
  return holds;
}

static bool ask_small(prober *p, const char *text, size_t rows, const char *what) {
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, rows * 64, 5) && add_out(p, &q, rows * 64) && run_text(p, text, NULL, 0, &q, &answer);
  see_answer(p, what, ran, &answer);
  bool right = ran && probe_word(&q.out[0], 0) == 5;
  if (ran && !right) probe_see(p, "wrong results");
  if (!ran) probe_is_refusal(p, &answer);
  free_request(&q);
  return right;
}

static bool tiny_tensors(prober *p) {
  return ask_small(p, FUNCTION(TYPE("1, 4, 1, 4") " x", OP(TYPE("1, 4, 1, 4"), "y", "relu(x = x)"), "y"), 4,
                   "[1, 4, 1, 4] in whole rows");
}

static bool one_position(prober *p) {
  return ask_small(p, FUNCTION(TYPE("1, 768, 1, 1") " x", OP(TYPE("1, 768, 1, 1"), "y", "relu(x = x)"), "y"), 768,
                   "[1, 768, 1, 1] in whole rows");
}

// ---- layout ----

// A ramp over rows of 16 elements: the second channel tells where the second row begins. False: refused.
static bool ask_stride(prober *p, size_t space, size_t *out_stride, orion_answer *answer) {
  static const char text[] = FUNCTION(TYPE("1, 64, 1, 16") " x", INTS("b", "4", "0, 1, 0, 0") INTS("s", "4", "1, 1, 1, 16")
      OP(TYPE("1, 1, 1, 16"), "y", "slice_by_size(begin = b, size = s, x = x)"), "y");
  request q = {0};
  bool ran = add_in(p, &q, space, 0) && add_out(p, &q, 128);
  for (size_t i = 0; ran && i < 512; i++) probe_set(&q.in[0], i, (float)i);
  ran = ran && run_text(p, text, NULL, 0, &q, answer);
  if (ran) *out_stride = 2 * (size_t)probe_word(&q.out[0], 0);
  free_request(&q);
  return ran;
}

static bool row_stride(prober *p) {
  orion_answer answer = {.rule = ORION_RULES};
  size_t stride = 0;
  bool ran = ask_stride(p, 64 * p->t->row_bytes, &stride, &answer) || ask_stride(p, 64 * 128, &stride, &answer);
  if (ran) {
    probe_see(p, "rows of 32 bytes start every %zu", stride);
    probe_measure(p, "row_bytes", (double)stride);
  } else {
    see_answer(p, "rows of 32 bytes", ran, &answer);
    probe_is_refusal(p, &answer);
  }
  return ran && stride == p->t->row_bytes;
}

// A surface of twice the size, filled as if it were not.
static bool larger_surface(prober *p) {
  static const char text[] = FUNCTION(X " x", INTS("b", "4", "0, 63, 0, 0") INTS("s", "4", "1, 1, 1, 32")
      OP(TYPE("1, 1, 1, 32"), "y", "slice_by_size(begin = b, size = s, x = x)"), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, 2 * X_BYTES, -1) && add_out(p, &q, 64);
  for (size_t i = 0; ran && i < X_ELEMENTS; i++) probe_set(&q.in[0], i, (float)(i / 32));
  ran = ran && run_text(p, text, NULL, 0, &q, &answer);
  see_answer(p, "an input of twice the size", ran, &answer);
  if (ran) probe_see(p, "its last row reads %g (63: from the first byte)", (double)probe_word(&q.out[0], 0));
  if (!ran) probe_is_refusal(p, &answer);
  bool right = ran && probe_word(&q.out[0], 0) == 63;
  free_request(&q);
  return right;
}

// ---- order ----

// z and a are returned in this order: 2 and 1. Sorted names put a first.
static bool output_order(prober *p) {
  static const char text[] = FUNCTION(
      X " x", CONST("fp16", "k", "0x1p+1") OP(X, "z", "mul(x = x, y = k)") OP(X, "a", "relu(x = x)"), "z, a");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 1) && add_out(p, &q, X_BYTES) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, &answer);
  float first = ran ? probe_word(&q.out[0], 0) : 0;
  if (ran) probe_see(p, "(z, a) returned: position 0 is %s", first == 1 ? "a, by name" : first == 2 ? "z, as returned" : "neither");
  if (!ran) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return first == 1;
}

// z - a of (z, a): surfaces 5 and 3 give 3 - 5 where a is position 0.
static bool input_order(prober *p) {
  static const char text[] = FUNCTION(X " z, " X " a", OP(X, "y", "sub(x = z, y = a)"), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 5) && add_in(p, &q, X_BYTES, 3) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, &answer);
  float y = ran ? probe_word(&q.out[0], 0) : 0;
  if (ran) probe_see(p, "(z, a) declared: position 0 is %s", y == -2 ? "a, by name" : y == 2 ? "z, as declared" : "neither");
  if (!ran) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return y == -2;
}

// ---- how many ----

static bool several_inputs(prober *p) {
  orion_answer answer = {.rule = ORION_RULES};
  bool ran, right = add_two(p, &ran, &answer);
  see_answer(p, "two inputs of one size", ran, &answer);
  if (!ran) probe_is_refusal(p, &answer);
  return right;
}

static const char *many_inputs(prober *p, int n) {
  orion_strbuf b;
  orion_strbuf_init(&b, NULL);
  orion_strbuf_addf(&b, "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(");
  for (int i = 0; i < n; i++) orion_strbuf_addf(&b, "%s" X " x%02d", i ? ", " : "", i);
  orion_strbuf_addf(&b, ") {\n" X " y01 = add(x = x00, y = x01)[name = string(\"y01\")];\n");
  for (int i = 2; i < n; i++) orion_strbuf_addf(&b, X " y%02d = add(x = y%02d, y = x%02d)[name = string(\"y%02d\")];\n", i, i - 1, i, i);
  orion_strbuf_addf(&b, "} -> (y%02d);\n}\n", n - 1);
  const char *text = probe_text(p, "%s", orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  return text;
}

static bool run_many(prober *p, int n, orion_answer *answer) {
  request q = {0};
  bool ok = true;
  for (int i = 0; ok && i < n; i++) ok = add_in(p, &q, X_BYTES, 1);
  bool ran = ok && add_out(p, &q, X_BYTES) && run_text(p, many_inputs(p, n), NULL, 0, &q, answer);
  bool right = ran && probe_word(&q.out[0], 0) == (float)n;
  free_request(&q);
  return right;
}

static bool surfaces(prober *p) {
  orion_answer answer = {.rule = ORION_RULES};
  int most = p->t->max_inputs < MOST - 1 ? p->t->max_inputs : MOST - 1;
  bool good = run_many(p, most, &answer);
  if (!good && probe_is_refusal(p, &answer)) are_two_refused(p);
  bool unclear = p->unclear, bad = run_many(p, most + 1, &answer);
  p->unclear = unclear;  // refused is refused, be it by the compiler
  if (!unclear) p->out->note[0] = 0;
  probe_see(p, "%d inputs: %s; %d: %s", most, good ? "runs" : "refused", most + 1, bad ? "runs" : "refused");
  return good && !bad && probe_is_refusal(p, &answer);
}

// ---- what goes wrong silently ----

static bool returned_and_used(prober *p) {
  static const char text[] = FUNCTION(X " x", OP(X, "a", "relu(x = x)") OP(X, "b", "add(x = a, y = a)"), "a, b");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 3) && add_out(p, &q, X_BYTES) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, &answer);
  bool right = ran && probe_word(&q.out[0], 0) == 3 && probe_word(&q.out[1], 0) == 6;
  if (ran) probe_see(p, "%g and %g (want 3 and 6)", (double)probe_word(&q.out[0], 0), (double)probe_word(&q.out[1], 0));
  if (!ran) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return right;
}

static bool identity_output(prober *p) {
  static const char text[] = FUNCTION(X " x", OP(X, "r", "relu(x = x)") OP(X, "y", "identity(x = r)"), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, X_BYTES, 3) && add_out(p, &q, X_BYTES) && run_text(p, text, NULL, 0, &q, &answer);
  bool right = ran && probe_word(&q.out[0], 0) == 3;
  bool refused = !ran && p->names_rules && answer.rule == ORION_RULE_D19;
  if (ran) probe_see(p, "%g (3 is right)", (double)probe_word(&q.out[0], 0));
  if (refused) probe_see(p, "refused: it would go wrong silently");
  if (!ran && !refused) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return refused || (ran && !right);
}

// Queries and keys of 0: all weights are equal, unless the mask lets each position see one key only (that of value 1).
static bool sdpa_mask(prober *p) {
  static const char text[] = FUNCTION(TYPE("1, 4, 32, 64") " q, " TYPE("1, 4, 32, 64") " v, " TYPE("1, 1, 32, 32") " w",
      OP(TYPE("1, 4, 32, 64"), "y", "scaled_dot_product_attention(attn_mask = w, key = q, query = q, value = v)"), "y");
  enum { N = 4 * 32 * 64 };
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, 2 * N, 0) && add_in(p, &q, 2 * N, 0) && add_in(p, &q, 2 * 32 * 32, -10000) && add_out(p, &q, 2 * N);
  for (size_t i = 0; ran && i < N; i++) probe_set(&q.in[1], i, i / 64 % 32 == 0 ? 32 : 0);
  for (size_t i = 0; ran && i < 32; i++) probe_set(&q.in[2], 32 * i, 0);
  ran = ran && run_text(p, text, NULL, 0, &q, &answer);
  float y = ran ? probe_word(&q.out[0], 0) : 0;
  bool masked = ran && y > 16;
  if (ran) probe_see(p, "%g (32: masked; 1: not masked)", (double)y);
  char words[80];
  if (!ran) probe_see(p, "%s", probe_answer_text(&answer, words, sizeof words));
  bool refused = !ran && p->names_rules && answer.rule == ORION_RULE_C06;  // the simulator says what would happen
  if (!ran && !refused) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return refused || (ran && !masked);
}

static bool runtime_conv(prober *p) {
  static const char text[] = FUNCTION(TYPE("64, 64, 1, 1") " w, " X " x", CONV_ARGS OP(X, "y", CONV_CALL("")), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = add_in(p, &q, 64 * 64 * 64, 0.5f) && add_in(p, &q, X_BYTES, 1) && add_out(p, &q, X_BYTES) &&
             run_text(p, text, NULL, 0, &q, &answer);
  float y = ran ? probe_word(&q.out[0], 0) : 0;
  if (ran) probe_see(p, "%g (32 is right)", (double)y);
  char words[80];
  if (!ran) probe_see(p, "%s", probe_answer_text(&answer, words, sizeof words));
  if (!ran && probe_is_refusal(p, &answer) && answer.symptom == ORION_SYMPTOM_RUN) {
    probe_note(p, "compiles and does not run: %.180s", answer.text);  // two inputs, of two sizes: C35 or C18 may be why
  }
  free_request(&q);
  return ran && y == 32;
}

static bool mask_as_constant(prober *p) {
  static const char text[] = FUNCTION(TYPE("1, 4, 32, 32") " s", BLOB(TYPE("1, 1, 32, 32"), "m", "weights/weight.bin", "64")
      CONST("int32", "ax", "-1") OP(TYPE("1, 4, 32, 32"), "a", "add(x = s, y = m)")
      OP(TYPE("1, 4, 32, 32"), "y", "softmax(axis = ax, x = a)"), "y");
  request q = {0};
  orion_answer answer = {.rule = ORION_RULES};
  orion_raw_file mask = probe_blob(p, "weights/weight.bin", 32 * 32, 1, -10000);
  uint8_t *words = (uint8_t *)(uintptr_t)mask.bytes;  // ours: column 0 is seen
  for (size_t i = 0; !probe_failed(p) && i < 32; i++) words[128 + 64 * i] = words[129 + 64 * i] = 0;
  bool ran = add_in(p, &q, 2 * 4 * 32 * 32, 1) && add_out(p, &q, 2 * 4 * 32 * 32) && run_text(p, text, &mask, 1, &q, &answer);
  float seen = ran ? probe_word(&q.out[0], 32) : 0, hidden = ran ? probe_word(&q.out[0], 33) : 1;
  if (ran) probe_see(p, "the visible key gets %g, a hidden one %g", (double)seen, (double)hidden);
  if (!ran) probe_note(p, "does not run: %.180s", answer.text);
  free_request(&q);
  return seen > 0.99f && seen < 1.01f && hidden == 0;
}

const probe_row *probe_request_rows(size_t *out_n) {
  static const probe_row rows[] = {
      {ORION_RULE_C02, output_sizes, false},  {ORION_RULE_C03, output_order, false},
      {ORION_RULE_C04, surface_size, false},  {ORION_RULE_C06, sdpa_mask, false},
      {ORION_RULE_C18, input_sizes, false},   {ORION_RULE_C19, input_order, false},
      {ORION_RULE_C20, larger_surface, false}, {ORION_RULE_C26, tiny_tensors, false},
      {ORION_RULE_C35, several_inputs, false}, {ORION_RULE_C36, one_position, false},
      {ORION_RULE_C39, returned_and_used, false}, {ORION_RULE_D19, identity_output, false},
      {ORION_RULE_D20, runtime_conv, false},  {ORION_RULE_L09, surfaces, false},
      {ORION_RULE_S01, row_stride, false},    {ORION_RULE_X05, mask_as_constant, false},
  };
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
