#ifndef TESTS_STANDIN_SOURCE_H
#define TESTS_STANDIN_SOURCE_H

#include "device/raw.h"
#include "standin.h"

// The program in a directory. NULL: refused, as `answer` says; without a rule the text or a file is at fault.
orion_program *source_open(orion_device *sim, const char *dir, orion_answer *answer);

#endif
