// How much memory there is.
#ifndef ORION_BASE_MEMORY_H
#define ORION_BASE_MEMORY_H

#include <stdint.h>

// Bytes of the machine, or fewer where the control group that the process began in allows it fewer; 0: not known.
uint64_t orion_memory_limit(void);

#endif
