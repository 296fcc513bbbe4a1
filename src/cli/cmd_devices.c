// orion devices: what is here.
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "cli/commands.h"
#include "device/ane/canary.h"
#include "target/target.h"

// The engine may be there and not work: a small program is sent to it.
static void add_answer(json_t *object, orion_device *device) {
  orion_error err = {0};
  bool answers = orion_ane_answers(device, &err) == ORION_OK;
  json_object_set_new(object, "answers", json_boolean(answers));
  if (!answers) json_object_set_new(object, "reason", json_string(err.message));
}

static json_t *device_json(const char *name, int threads) {
  orion_error err = {0};
  orion_device *device;
  if (orion_device_open(name, threads, NULL, &device, &err) != ORION_OK) {
    return json_pack("{s:s, s:b, s:s}", "name", name, "available", 0, "reason", err.message);
  }
  orion_device_info info;
  orion_device_describe(device, &info);
  json_t *object = json_pack("{s:s, s:b, s:s, s:s, s:s, s:i}", "name", info.name, "available", 1, "family", info.family,
                             "numerics", info.numerics, "description", info.description, "threads", info.threads);
  if (info.unknown) {
    json_t *unknown = json_array();
    for (const char *const *line = info.unknown; *line; line++) json_array_append_new(unknown, json_string(*line));
    json_object_set_new(object, "unknown", unknown);
  }
  if (strcmp(info.name, "ane") == 0) add_answer(object, device);
  orion_device_close(device);
  return object;
}

// Opening it would begin a file.
static json_t *record_json(void) {
  return json_pack("{s:s, s:b, s:s, s:s, s:s, s:i}", "name", "record", "available", 1, "family", "", "numerics",
                   "that of the device it wraps: record:DEVICE,file=PATH", "description",
                   "writes down what is done with another device; orion run PATH replays it", "threads", 1);
}

static json_t *target_json(const orion_target *t) {
  if (!t->ane) return json_pack("{s:s, s:s}", "name", t->name, "arch", t->arch);
  return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:I}", "name", t->name, "arch", t->arch,
                   "max_axis", (json_int_t)t->max_axis, "max_channels", (json_int_t)t->max_channels, "max_conv_in",
                   (json_int_t)t->max_conv_in, "max_conv_out", (json_int_t)t->max_conv_out, "max_weight_bytes",
                   (json_int_t)t->max_weight_bytes, "max_inputs", t->max_inputs, "max_outputs", t->max_outputs,
                   "max_programs", t->max_programs, "sram_bytes", (json_int_t)t->sram_bytes);
}

static void print_text(const json_t *devices, const json_t *targets) {
  size_t i;
  json_t *d;
  printf("devices\n");
  json_array_foreach(devices, i, d) {
    if (!json_is_true(json_object_get(d, "available"))) {
      printf("  %-6s not available: %s\n", json_string_value(json_object_get(d, "name")),
             json_string_value(json_object_get(d, "reason")));
      continue;
    }
    printf("  %-6s %-10s %s\n         %s; %lld thread%s\n", json_string_value(json_object_get(d, "name")),
           json_string_value(json_object_get(d, "family")), json_string_value(json_object_get(d, "description")),
           json_string_value(json_object_get(d, "numerics")), (long long)json_integer_value(json_object_get(d, "threads")),
           json_integer_value(json_object_get(d, "threads")) == 1 ? "" : "s");
    if (json_object_get(d, "answers")) {
      bool yes = json_is_true(json_object_get(d, "answers"));
      printf("         %s%s\n", yes ? "it answers: a small program came back with the right numbers" : "it does not answer: ",
             yes ? "" : json_string_value(json_object_get(d, "reason")));
    }
  }
  printf("targets to compile for\n");
  json_array_foreach(targets, i, d) {
    printf("  %-6s %s", json_string_value(json_object_get(d, "name")), json_string_value(json_object_get(d, "arch")));
    if (json_object_get(d, "max_axis")) {
      printf(": axes to %lld, channels to %lld, %lld MiB of weights and %lld + %lld surfaces a program",
             (long long)json_integer_value(json_object_get(d, "max_axis")),
             (long long)json_integer_value(json_object_get(d, "max_channels")),
             (long long)(json_integer_value(json_object_get(d, "max_weight_bytes")) >> 20),
             (long long)json_integer_value(json_object_get(d, "max_inputs")),
             (long long)json_integer_value(json_object_get(d, "max_outputs")));
    }
    putchar('\n');
  }
}

// The chip families that the sim plays, as devices of their own.
static void add_families(json_t *devices, int threads) {
  for (const char *const *name = orion_target_names(); *name; name++) {
    if (!orion_target_find(*name)->ane) continue;
    char spec[32];
    snprintf(spec, sizeof spec, "sim:%s", *name);
    json_array_append_new(devices, device_json(spec, threads));
  }
}

static orion_status run(const cli_args *a, orion_error *err) {
  int threads;
  ORION_TRY(cli_threads(a, &threads, err));
  json_t *devices = json_array(), *targets = json_array();
  for (const char *const *name = orion_device_names(); *name; name++) {
    json_array_append_new(devices, strcmp(*name, "record") == 0 ? record_json() : device_json(*name, threads));
    if (strcmp(*name, "sim") == 0) add_families(devices, threads);
  }
  for (const char *const *name = orion_target_names(); *name; name++) {
    json_array_append_new(targets, target_json(orion_target_find(*name)));
  }
  if (a->json) {
    cli_print_json(json_pack("{s:o, s:o, s:s, s:i}", "devices", devices, "targets", targets, "cpu_level",
                             orion_cpu_level_name(orion_cpu_features()), "processors", orion_cpu_count()));
  } else {
    print_text(devices, targets);
    json_decref(devices);
    json_decref(targets);
  }
  return ORION_OK;
}

const cli_command cli_command_devices = {
    "devices", "", "List devices and targets with their limits.", "orion devices --json", NULL, 0, 0, run};
