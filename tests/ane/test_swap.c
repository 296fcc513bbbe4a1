// Adapters through the bridge: a thousand swaps compile nothing, load nothing, and each gives what the adapter gives alone.
#include "orion/adapter.h"
#include "rig.h"
#include "support/adapters.h"
#include "support/models.h"

enum { VOCAB = 97, ADAPTERS = 8, PREFIX = 3, SWAPS = 1000 };

static void swaps_compile_nothing(void **state) {
  (void)state;
  static float want[ADAPTERS][VOCAB];
  static const int32_t text[PREFIX + 1] = {5, 17, 42, 9};
  rig r;
  orion_error err;
  orion_session *s;
  orion_adapter *adapters[ADAPTERS];
  orion_mix *mixes[ADAPTERS];
  orion_config c = test_config(TEST_LLAMA, 32);
  c.layers = 1;
  orion_model *m = test_model(&c);
  rig_world(&r, NULL);
  rig_open(&r, "ane");
  orion_session_options o;
  orion_session_options_init(&o);
  o.lora_rank = 4;
  o.lora_targets = "q,v,down";
  assert_ok(orion_session_create(m, r.device, &o, &s, &err), &err);
  unsigned targets = 1u << ORION_PROJECTION_Q | 1u << ORION_PROJECTION_V | 1u << ORION_PROJECTION_DOWN;
  for (unsigned i = 0; i < ADAPTERS; i++) {
    adapters[i] = test_adapter(m, 4, targets, 50 + i);
    const orion_mix_part part = {adapters[i], 1};
    assert_ok(orion_mix_create(s, &part, 1, &mixes[i], &err), &err);
  }
  assert_ok(orion_session_feed(s, text, PREFIX, &err), &err);
  for (int i = 0; i < ADAPTERS; i++) {
    orion_session_use(s, mixes[i]);
    orion_session_truncate(s, PREFIX);
    assert_ok(orion_session_feed(s, &text[PREFIX], 1, &err), &err);
    memcpy(want[i], orion_session_logits(s), sizeof want[i]);
    for (int k = 0; k < i; k++) assert_memory_not_equal(want[i], want[k], sizeof want[i]);
  }
  long compiles = (long)r.count("compiles"), loads = (long)r.count("loads"), objects = (long)r.count("objects");
  for (int n = 0; n < SWAPS; n++) {
    int i = (n * 5 + n / 8) % ADAPTERS;
    orion_session_use(s, mixes[i]);
    if (n % 10) continue;  // most swaps are followed by another
    orion_session_truncate(s, PREFIX);
    assert_ok(orion_session_feed(s, &text[PREFIX], 1, &err), &err);
    assert_memory_equal(orion_session_logits(s), want[i], sizeof want[i]);
  }
  assert_int_equal(r.count("compiles"), compiles);
  assert_int_equal(r.count("loads"), loads);
  assert_int_equal(r.count("objects"), objects);
  for (int i = 0; i < ADAPTERS; i++) {
    orion_mix_destroy(mixes[i]);
    orion_adapter_close(adapters[i]);
  }
  orion_session_destroy(s);
  rig_end(&r);
  orion_model_close(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(swaps_compile_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
