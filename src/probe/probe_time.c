// Probes of time, by the quickest of a few runs. What a run costs whatever it does is measured first and taken off.
#include "probe/prober.h"

enum { TIMES = 20 };

// The quickest of some runs; the first, which wakes the engine, does not count.
static bool best_of(prober *p, orion_raw *r, const orion_raw_request *q, orion_answer *answer) {
  if (p->raw->clock) return p->raw->clock(r, q, TIMES, answer, p->err) == ORION_OK && answer->symptom == ORION_SYMPTOM_NONE;
  double best = 0;
  for (int i = 0; i <= TIMES; i++) {
    if (p->raw->run(r, q, answer, p->err) != ORION_OK || answer->symptom != ORION_SYMPTOM_NONE) return false;
    if (i == 1 || (i > 1 && answer->seconds < best)) best = answer->seconds;
  }
  answer->seconds = best;
  return true;
}

// The quickest run of a program with one or two inputs; 0: it could not be told.
static double quickest(prober *p, const char *text, const orion_raw_file *files, size_t n_files, const size_t *bytes, size_t n_in,
                       size_t out_bytes) {
  probe_surface s[3] = {{0}};
  orion_answer answer = {.rule = ORION_RULES};
  double seconds = 0;
  orion_surface *in[2] = {NULL, NULL}, *out = NULL;
  bool made = probe_surface_make(p, out_bytes, 0, &s[2]);
  for (size_t i = 0; made && i < n_in; i++) {
    made = probe_surface_make(p, bytes[i], 0, &s[i]);
    in[i] = s[i].s;
  }
  out = s[2].s;
  orion_raw *r = made ? probe_compile(p, text, files, n_files, 0, &answer) : NULL;
  orion_raw_request q = {in, &out, n_in, 1};
  if (r && best_of(p, r, &q, &answer)) {
    seconds = answer.seconds;
  } else if (!probe_failed(p)) {
    probe_note(p, "does not run: %.180s", answer.text);
  }
  probe_release(p, r);
  for (int i = 0; i < 3; i++) probe_surface_free(&s[i]);
  return seconds;
}

static double dispatch_seconds(prober *p) {
  return quickest(p, FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "y"), NULL, 0, (size_t[]){X_BYTES}, 1, X_BYTES);
}

static double beyond(double seconds, double dispatch) { return seconds > dispatch ? seconds - dispatch : 1e-9; }

// A chain of `depth` 1x1 convolutions over [1, in, height, width], the first to `out` channels, which later ones keep.
static double conv_seconds(prober *p, int in, int out, int height, int width, int depth, size_t *out_weights) {
  orion_strbuf b;
  orion_strbuf_init(&b, NULL);
  orion_strbuf_addf(&b, "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(tensor<fp16, [1, %d, %d, %d]> h00) {\n"
                    CONV_ARGS "tensor<fp16, [%d, %d, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [%d, %d, 1, 1]>"
                    "(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64(64)))];\n",
                    in, height, width, out, in, out, in);
  for (int i = 0; i < depth; i++) {
    orion_strbuf_addf(&b, "tensor<fp16, [1, %d, %d, %d]> h%02d = conv(dilations = st, groups = gr, pad = pd, pad_type = pt, strides = "
                      "st, weight = w, x = h%02d)[name = string(\"h%02d\")];\n", out, height, width, i + 1, i, i + 1);
  }
  orion_strbuf_addf(&b, "} -> (h%02d);\n}\n", depth);
  const char *text = probe_text(p, "%s", orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  orion_raw_file weights = probe_blob(p, "weights/weight.bin", (size_t)in * (size_t)out, 1, 0);
  size_t plane = 2 * (size_t)height * (size_t)width;
  if (out_weights) *out_weights = 2 * (size_t)in * (size_t)out;
  if (probe_failed(p)) return 0;
  return quickest(p, text, &weights, 1, (size_t[]){(size_t)in * plane}, 1, (size_t)out * plane);
}

static bool dispatch(prober *p) {
  double us = dispatch_seconds(p) * 1e6;
  probe_see(p, "%.0f us", us);
  probe_measure(p, "dispatch_us", us);
  return us > p->t->dispatch_us / 2 && us < p->t->dispatch_us * 2;
}

static bool conv_for_matmul(prober *p) {
  enum { N = 1024 };
  static const char text[] = FUNCTION(TYPE("1, 1, 1024, 1024") " a, " TYPE("1, 1, 1024, 1024") " b",
      NO OP(TYPE("1, 1, 1024, 1024"), "y", MATMUL_CALL("a", "b")), "y");
  double none = dispatch_seconds(p), conv = beyond(conv_seconds(p, N, N, 1, N, 1, NULL), none);
  double matmul = beyond(quickest(p, text, NULL, 0, (size_t[]){2 * N * N, 2 * N * N}, 2, 2 * N * N), none), ratio = matmul / conv;
  probe_see(p, "1024 x 1024 x 1024: conv %.0f us, matmul %.0f us: %.2f times", conv * 1e6, matmul * 1e6, ratio);
  probe_measure(p, "conv_speedup", ratio);
  return ratio > 0.6 * p->t->conv_speedup && ratio < 1.6 * p->t->conv_speedup;
}

// The same work per element on 2 MiB and on 8 MiB.
static bool working_set(prober *p) {
  double none = dispatch_seconds(p), small = beyond(conv_seconds(p, 512, 512, 1, 2048, 1, NULL), none);
  double large = beyond(conv_seconds(p, 512, 512, 1, 8192, 1, NULL), none), ratio = large / (4 * small);
  probe_see(p, "8 MiB take %.2f times as long per element as 2 MiB", ratio);
  return ratio > 1.15;
}

static bool wide_contraction(prober *p) {
  int most = (int)p->t->split_conv_in;
  double none = dispatch_seconds(p), narrow = beyond(conv_seconds(p, most, 512, 1, 32, 1, NULL), none);
  double wide = beyond(conv_seconds(p, 2 * most, 512, 1, 32, 1, NULL), none), ratio = wide / (2 * narrow);
  probe_see(p, "%d channels take %.2f times as long per channel as %d", 2 * most, ratio, most);
  return ratio > 1.5;
}

static bool peak(prober *p) {
  enum { C = 512, H = 32, W = 64, DEPTH = 32 };
  double none = dispatch_seconds(p), seconds = beyond(conv_seconds(p, C, C, H, W, DEPTH, NULL), none);
  double tflops = 2.0 * C * C * H * W * DEPTH / seconds * 1e-12;
  probe_see(p, "%d convolutions of %d channels over %d x %d: %.1f TFLOP/s", DEPTH, C, H, W, tflops);
  probe_measure(p, "fp16_tflops", tflops);
  return tflops > p->t->fp16_tflops / 2 && tflops < p->t->fp16_tflops * 2;
}

static bool bandwidth(prober *p) {
  size_t bytes = 0;
  double none = dispatch_seconds(p), seconds = beyond(conv_seconds(p, 2048, 4096, 1, 32, 1, &bytes), none);
  double rate = (double)bytes / seconds * 1e-9;
  probe_see(p, "16 MiB of weights: %.0f GB/s", rate);
  probe_measure(p, "weight_gb_s", rate);
  return rate > p->t->weight_gb_s / 2 && rate < p->t->weight_gb_s * 2;
}

static bool compile_time(prober *p) {
  orion_answer small = {.rule = ORION_RULES}, large = small;
  orion_raw_file file = probe_blob(p, "weights/weight.bin", 2048 * 4096, 1, 0);
  static const char text[] = FUNCTION(TYPE("1, 2048, 1, 32") " x", CONV_ARGS BLOB(TYPE("4096, 2048, 1, 1"), "w", "weights/weight.bin", "64")
      OP(TYPE("1, 4096, 1, 32"), "y", CONV_CALL("")), "y");
  probe_release(p, probe_compile(p, FUNCTION(X " x", OP(X, "quick", "relu(x = x)"), "quick"), NULL, 0, 0, &small));
  probe_release(p, probe_compile(p, text, &file, 1, 0, &large));
  if (small.symptom != ORION_SYMPTOM_NONE || large.symptom != ORION_SYMPTOM_NONE) probe_note(p, "does not compile: %.180s", large.text);
  probe_see(p, "%.0f ms for nothing, %.0f ms for 16 MiB", small.seconds * 1e3, large.seconds * 1e3);
  return large.seconds > 2 * small.seconds && large.seconds < 1;
}

static bool restart_cost(prober *p) {
  double seconds;
  if (!p->raw->restart) {
    probe_note(p, "this device cannot tell; orion probe measures it by the processes that it starts");
    return false;
  }
  if (p->raw->restart(p->d, &seconds, p->err) != ORION_OK) {
    probe_note(p, "%.200s", p->err->message);
    return false;
  }
  probe_see(p, "%.0f ms", seconds * 1e3);
  probe_measure(p, "restart_ms", seconds * 1e3);
  return seconds * 1e3 <= 2 * p->t->restart_ms;
}

const probe_row *probe_time_rows(size_t *out_n) {
  static const probe_row rows[] = {
      {ORION_RULE_C15, restart_cost, false},    {ORION_RULE_C17, conv_for_matmul, false},
      {ORION_RULE_C28, working_set, false},     {ORION_RULE_C29, dispatch, false},
      {ORION_RULE_C33, compile_time, false},    {ORION_RULE_L19, wide_contraction, false},
      {ORION_RULE_X04, peak, false},            {ORION_RULE_X07, bandwidth, false},
  };
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
