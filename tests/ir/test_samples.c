// Programs that other generators wrote verify without a remark, but for one that declares a transposed shape wrongly.
#include "ir/infer.h"
#include "mil/mil.h"
#include "support/support.h"

static void test_sample_programs_verify(void **state) {
  static const char *const samples[] = {
      "coremltools_add_model", "espresso_gen_conv", "espresso_gen_ffn_bwd", "espresso_gen_ffn_fwd_taps",
      "espresso_gen_fused_ffn", "espresso_gen_fused_qkv", "espresso_gen_matmul", "espresso_gen_qkvb",
      "espresso_gen_sdpa_bwd1", "espresso_gen_sdpa_bwd2", "espresso_gen_sdpa_fwd_taps", "fluidaudio_eou160_decoder",
      "fluidaudio_eou160_joint_decision", "fluidaudio_eou160_parakeet_eou_preprocessor", "fluidaudio_opt_Argmax",
      "fluidaudio_opt_TransposeEncoder", "mlmodelc-export_flexible-multifunction",
      "mlmodelc-export_fp16-subnormal-cast", "mlmodelc-export_quantized-constexpr", "mobius_unified_int8",
      "mobius_unified_palette_4bit", "qwen-ane_mm_5120",
  };
  char probe[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(probe, "data/mil");
  size_t bad = 0;
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    char relative[256], path[TEST_PATH_MAX];
    snprintf(relative, sizeof relative, "data/mil/%s/model.mil", samples[i]);
    if (!test_shared_path(path, sizeof path, relative)) continue;
    size_t n;
    char *text = test_read_file(path, &n);
    orion_error err = {0};
    orion_program *p;
    assert_ok(orion_mil_parse(NULL, text, n, samples[i], &p, &err), &err);
    orion_findings found;
    orion_findings_init(&found, NULL);
    assert_ok(orion_verify(p, &found, &err), &err);
    if (strcmp(samples[i], "qwen-ane_mm_5120") == 0) {  // its transpose of [.., 512, 5120] is declared unturned
      assert_int_equal(found.n, 1);
      assert_string_equal(found.items[0].rule, "shape");
      assert_string_equal(found.items[0].value, "yt");
      found.n = 0;
    }
    for (size_t k = 0; k < found.n; k++) {
      print_message("%s:%u: %s: %s\n", samples[i], found.items[k].loc.line, found.items[k].rule, found.items[k].message);
    }
    bad += found.n;
    orion_findings_deinit(&found);
    orion_program_destroy(p);
    free(text);
  }
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sample_programs_verify)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
