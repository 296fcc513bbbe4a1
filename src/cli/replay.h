// Replaying records of device calls.
#ifndef ORION_CLI_REPLAY_H
#define ORION_CLI_REPLAY_H

#include "cli/cli.h"

orion_status cli_replay(const cli_args *a, orion_error *err);  // of `orion run`, whose operand is a record

#endif
