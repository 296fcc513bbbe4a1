// The engine without help: a program as text and files, a request as surfaces by position. The ordinary contract puts
// right what people get wrong; probes must be able to get it wrong and see what the engine says to it. Only
// `orion probe` and tests use this. A device that has it sets orion_device_vtable.raw.
//
// Each call returns ORION_OK once the engine has answered, also when the answer was no: `answer` says what it was. Any
// other status is a failure of ours or of the system (memory, an argument, no engine there).
#ifndef ORION_DEVICE_RAW_H
#define ORION_DEVICE_RAW_H

#include "device/device.h"
#include "target/rules.h"

typedef struct orion_answer {
  orion_symptom symptom;  // NONE: done; COMPILE, LOAD, RUN: refused there; CRASH: the process would not have survived
  uint32_t status;        // the engine's code, or 0
  orion_rule_id rule;     // which rule that is: the simulator knows, the bridge guesses; ORION_RULES: unknown
  double seconds;         // what it took; the simulator: by its model of costs
  char text[192];         // the engine's words, or the simulator's
} orion_answer;

typedef struct orion_raw_file {
  const char *path;       // below @model_path/: "weights/w.bin"
  const void *bytes;
  size_t n;
} orion_raw_file;

// What a caller of the private framework may do wrong around a program.
enum {
  ORION_RAW_TEXT_AS_STRING = 1,  // NSString instead of NSData (C09)
  ORION_RAW_NO_DICTIONARY = 2,   // nil instead of an empty dictionary (C11)
  ORION_RAW_NO_DIRECTORY = 4,    // nothing written before the compile (C25)
};

typedef struct orion_raw_program {
  const char *text;       // MIL, unchecked
  size_t n_text;
  const orion_raw_file *files;
  size_t n_files;
  unsigned mistakes;      // ORION_RAW_*; 0: as it should be
} orion_raw_program;

// A request: surfaces in the order of its indices 0, 1, 2..., of whatever size. What their layouts say does not matter,
// only their bytes. Position i is the i-th name in byte order (C03, C19), as far as the engine goes by that.
typedef struct orion_raw_request {
  orion_surface *const *inputs, *const *outputs;
  size_t n_inputs, n_outputs;
} orion_raw_request;

// How changed files get under a compiled program: all unload before and load after.
typedef enum orion_raw_reload {
  ORION_RELOAD_FILES,     // overwrite the files in its directory
  ORION_RELOAD_DATA,      // those, and the compiler's `data` beside them (programs of one file)
  ORION_RELOAD_IDENTITY,  // a new identity that inherits net.plist, with new files and new `data`, without a compile
} orion_raw_reload;

typedef struct orion_raw {  // a loaded program; the device's own begins with it
  orion_device *device;
} orion_raw;

typedef struct orion_raw_vtable {
  // Compiles and loads. *out is NULL where it was refused. answer->seconds: the compile alone.
  orion_status (*compile)(orion_device *d, const orion_raw_program *p, orion_raw **out, orion_answer *answer,
                          orion_error *err);
  // Loads once more what this process holds compiled of `p`, without compiling. NULL: compile it, which the device finds
  // done (C41).
  orion_status (*load)(orion_device *d, const orion_raw_program *p, orion_raw **out, orion_answer *answer,
                       orion_error *err);
  orion_status (*run)(orion_raw *r, const orion_raw_request *q, orion_answer *answer, orion_error *err);
  // The quickest of `times` runs, in answer->seconds, without outputs being of interest: the simulator reckons and runs
  // nothing. NULL: run it, and look at the times.
  orion_status (*clock)(orion_raw *r, const orion_raw_request *q, int times, orion_answer *answer, orion_error *err);
  orion_status (*reload)(orion_raw *r, const orion_raw_file *files, size_t n, orion_raw_reload how, orion_answer *answer,
                         orion_error *err);
  // The system's name for a program, without compiling it: ends with a NUL within 256 characters.
  orion_status (*identity)(orion_device *d, const orion_raw_program *p, char *out, orion_error *err);
  // `unload` false: drops it as a careless caller would (C27).
  void (*release)(orion_raw *r, bool unload);
  // Seconds until a new process has this device open; NULL: measure it by starting one.
  orion_status (*restart)(orion_device *d, double *out_seconds, orion_error *err);
  // Whether its seconds are an engine's, or told by a model of one; NULL: yes. Of a stand-in they are the host's.
  bool (*keeps_time)(const orion_device *d);
} orion_raw_vtable;

#endif
