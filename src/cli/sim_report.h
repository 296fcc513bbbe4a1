// The option --sim-report of the commands that run programs.
#ifndef ORION_CLI_SIM_REPORT_H
#define ORION_CLI_SIM_REPORT_H

#include "cli/cli.h"

#define CLI_SIM_REPORT_OPTION \
  {"sim-report", 0, CLI_FLAG, NULL, "count overflow, lost products and table errors by layer (devices sim:*)", false}

// Before the first compile; nothing where the option is not given.
orion_status cli_sim_report_start(const cli_args *a, orion_device *device, orion_error *err);
// After the last run: into `object` as "sim_report", or as a table on stdout where it is NULL.
void cli_sim_report_end(const cli_args *a, const orion_device *device, json_t *object);

#endif
