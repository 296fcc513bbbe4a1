/// Status codes and the error record that every fallible call of Orion fills.
///
/// A function that can fail returns `orion_status` and takes an `orion_error *` as last parameter. The caller owns
/// the record (put it on the stack), may pass NULL, and has nothing to free. On ORION_OK the record is untouched.
#ifndef ORION_STATUS_H
#define ORION_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ORION_API __attribute__((visibility("default")))
#define ORION_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ORION_API
#define ORION_PRINTF(f, a)
#endif

/// What went wrong, coarsely; the message says the rest. `orion` the command turns these into its exit codes.
typedef enum orion_status {
  ORION_OK = 0,
  ORION_INVALID,      ///< a caller's argument makes no sense (command line: exit 2)
  ORION_NOT_FOUND,    ///< a file, tensor, name or device does not exist (exit 3 where it is an input)
  ORION_UNSUPPORTED,  ///< a well-formed input asks for something Orion does not do (exit 3)
  ORION_FORMAT,       ///< a file's contents are malformed (exit 3)
  ORION_REFUSED,      ///< a device or target refuses the program; the message names the rule (exit 4)
  ORION_LIMIT,        ///< a stated limit is reached: context length, size, count (exit 1)
  ORION_NO_MEMORY,    ///< the allocator returned NULL (exit 1)
  ORION_IO,           ///< the operating system refused a read or write (exit 1)
  ORION_DEVICE,       ///< the device failed while running (exit 1)
  ORION_NUMERIC,      ///< NaN or infinity where none may be (exit 1)
  ORION_CANCELLED,    ///< the caller asked to stop (exit 1)
  ORION_INTERNAL,     ///< a broken invariant of ours: a bug (exit 1)
} orion_status;

/// One error: code, place in our source, and one line of text "WHAT: WHY (what to do)" without trailing newline.
typedef struct orion_error {
  orion_status code;
  int line;              ///< source line that reported it
  const char *file;      ///< source file that reported it, a static string
  char message[1024];    ///< always terminated; longer texts lose their middle
} orion_error;

/// Short stable name of a code, e.g. "format". Static string.
ORION_API const char *orion_status_name(orion_status status);

/// Fills `err` (may be NULL) and returns `code`. Use through ORION_FAIL, which adds the place and is itself `code`
/// (spelled so that compilers see a failure where a failure is).
ORION_API orion_status orion_error_set(orion_error *err, orion_status code, const char *file, int line,
                                       const char *format, ...) ORION_PRINTF(5, 6);

/// Puts "prefix: " in front of the message of an error that is on its way up. NULL ignored.
ORION_API void orion_error_prefix(orion_error *err, const char *format, ...) ORION_PRINTF(2, 3);

/// return ORION_FAIL(err, ORION_FORMAT, "config.json: n_head is %d (want 1 or more)", n);
#define ORION_FAIL(err, code, ...) (orion_error_set((err), (code), __FILE__, __LINE__, __VA_ARGS__), (code))

/// Leaves the function with the status of `expr` unless it is ORION_OK. Only where nothing is owned.
#define ORION_TRY(expr)                              \
  do {                                               \
    orion_status orion_try_status_ = (expr);         \
    if (orion_try_status_ != ORION_OK) return orion_try_status_; \
  } while (0)

#ifdef __cplusplus
}
#endif
#endif
