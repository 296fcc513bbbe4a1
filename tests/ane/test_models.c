// Whole models through the bridge: GPT-2's arrangement and llama's give the same logits, to the bit, as on the sim that the
// stand-in runs on, by either route and with few slots.
#include "orion/session.h"
#include "rig.h"
#include "support/models.h"

enum { VOCAB = 97, STEPS = 6 };

// Logits after a prompt and after each of some greedy tokens: [STEPS, VOCAB], and the tokens.
static void generate(const orion_model *model, orion_device *d, float *logits, int32_t *tokens) {
  orion_error err;
  orion_session_options o;
  orion_session_options_init(&o);
  o.context = 32;
  orion_session *s;
  assert_ok(orion_session_create((orion_model *)(uintptr_t)model, d, &o, &s, &err), &err);
  int32_t prompt[] = {5, 17, 60, 3, 91};
  assert_ok(orion_session_feed(s, prompt, 5, &err), &err);
  for (int k = 0; k < STEPS; k++) {
    const float *now = orion_session_logits(s);
    memcpy(logits + k * VOCAB, now, VOCAB * sizeof *now);
    int32_t best = 0;
    for (int32_t i = 1; i < VOCAB; i++) best = now[i] > now[best] ? i : best;
    tokens[k] = best;
    assert_ok(orion_session_feed(s, &best, 1, &err), &err);
  }
  orion_session_destroy(s);
}

static void a_model_gives_the_same_tokens_as_on_the_sim(void **state) {
  static const char *const specs[] = {"ane", "ane:route=b", "ane:slots=1"};
  const test_kind kind = *(const test_kind *)*state;
  orion_config config = test_config(kind, 64);
  orion_model *model = test_model(&config);
  orion_device *sim;
  orion_error err;
  float want[STEPS * VOCAB], got[STEPS * VOCAB];
  int32_t want_tokens[STEPS], got_tokens[STEPS];
  assert_ok(orion_device_open("sim:m4", 1, NULL, &sim, &err), &err);
  generate(model, sim, want, want_tokens);
  orion_device_close(sim);
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    rig r;
    rig_world(&r, NULL);
    rig_open(&r, specs[i]);
    generate(model, r.device, got, got_tokens);
    assert_memory_equal(got_tokens, want_tokens, sizeof want_tokens);
    assert_memory_equal(got, want, sizeof want);
    rig_end(&r);
  }
  orion_model_close(model);
}

int main(void) {
  static test_kind kinds[] = {TEST_GPT2, TEST_LLAMA, TEST_QWEN3};
  const struct CMUnitTest tests[] = {
      {"GPT-2 gives the same tokens as on the sim", a_model_gives_the_same_tokens_as_on_the_sim, NULL, NULL, &kinds[0]},
      {"llama gives the same tokens as on the sim", a_model_gives_the_same_tokens_as_on_the_sim, NULL, NULL, &kinds[1]},
      {"qwen3 gives the same tokens as on the sim", a_model_gives_the_same_tokens_as_on_the_sim, NULL, NULL, &kinds[2]},
  };
  return cmocka_run_group_tests_name("ane models", tests, NULL, NULL);
}
