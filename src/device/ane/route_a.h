// What the files of route A share with each other and with raw.c.
#ifndef ORION_DEVICE_ANE_ROUTE_A_H
#define ORION_DEVICE_ANE_ROUTE_A_H

#include "device/ane/ane.h"
#include "device/raw.h"

// The weights dictionary of a program; the files' bytes outlive it. NULL: out of memory.
orion_cf orion_ane_a_weights(const orion_ane_system *s, const orion_raw_file *files, size_t n);
// A model of the framework's, retained, and its identity (ORION_ANE_ID_MAX characters). Within an autorelease pool.
orion_status orion_ane_a_object(const orion_ane_system *s, orion_cf text, orion_cf weights, orion_id *out, char *out_id,
                                orion_error *err);
orion_status orion_ane_a_describe(orion_ane_device *d, orion_ane_executable *e, const char *function, orion_error *err);

extern const orion_raw_vtable orion_ane_raw;  // raw.c

#endif
