// --sim-report: what happened to numbers on a device that counts (orion_device_count), as a table or as JSON.
#include "cli/sim_report.h"

#include <stdio.h>

orion_status cli_sim_report_start(const cli_args *a, orion_device *device, orion_error *err) {
  return cli_flag(a, "sim-report") ? orion_device_count(device, true, err) : ORION_OK;
}

static json_t *rows_json(const orion_tally *rows, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) {
    const orion_tally *t = &rows[i];
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "op", t->op, "layer",
                                          t->layer, "runs", (json_int_t)t->runs, "results", (json_int_t)t->results,
                                          "infinite", (json_int_t)t->infinite, "products", (json_int_t)t->products,
                                          "dropped", (json_int_t)t->dropped, "vanished", (json_int_t)t->vanished,
                                          "out_of_range", (json_int_t)t->out_of_range, "max_error", t->max_error));
  }
  return list;
}

static bool worth_a_line(const orion_tally *t) {
  return t->infinite || t->dropped || t->vanished || t->out_of_range || t->max_error > 0;
}

static void print_rows(const orion_tally *rows, size_t n) {
  printf("%-6s %-12s %12s %10s %16s %12s %12s %12s %10s\n", "layer", "operation", "results", "infinite", "products",
          "dropped", "vanished", "beyond table", "error");
  for (size_t i = 0; i < n; i++) {
    const orion_tally *t = &rows[i];
    if (!worth_a_line(t)) continue;
    printf("%-6s %-12s %12llu %10llu %16llu %12llu %12llu %12llu %10.2g\n", *t->layer ? t->layer : "-", t->op,
            (unsigned long long)t->results, (unsigned long long)t->infinite, (unsigned long long)t->products,
            (unsigned long long)t->dropped, (unsigned long long)t->vanished, (unsigned long long)t->out_of_range,
            t->max_error);
  }
}

void cli_sim_report_end(const cli_args *a, const orion_device *device, json_t *object) {
  size_t n;
  if (!cli_flag(a, "sim-report")) return;
  const orion_tally *rows = orion_device_tallies(device, &n);
  if (object) {
    json_object_set_new(object, "sim_report", rows_json(rows, n));
  } else {
    print_rows(rows, n);
  }
}
