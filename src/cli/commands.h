// All commands, declared from their list. Each is defined in cmd_<id>.c.
#ifndef ORION_CLI_COMMANDS_H
#define ORION_CLI_COMMANDS_H

#include "cli/cli.h"

#define CLI_COMMAND(id) extern const cli_command cli_command_##id;
#include "cli/commands.inc"
#undef CLI_COMMAND

#endif
