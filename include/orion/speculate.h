/// Speculation without a second model: what followed the last words the last time they stood in the text is fed along
/// with the next token, in one pass that costs little more than one token, and its logits are kept for when the guess
/// turns out right. The caller goes on as with a session: choose a token from the logits, feed it, and so on; what it
/// chooses, and so the text, is its own affair and the same as without (to the rounding of programs of another width).
#ifndef ORION_SPECULATE_H
#define ORION_SPECULATE_H

#include <stddef.h>
#include <stdint.h>

#include "orion/session.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_speculator orion_speculator;

#define ORION_SPECULATE_MOST 31  ///< guesses of one pass at most

/// Guesses up to `most` (1 to ORION_SPECULATE_MOST) tokens a pass, fewer where they rarely come true, none for a while
/// where they cost more time than they save, and none at all until as many would have come true as pay for compiling the
/// programs that take several tokens. The session must outlive it and has to be empty; from now on it is fed
/// through the speculator alone. One thread at a time.
ORION_API orion_status orion_speculator_create(orion_session *session, int most, orion_speculator **out,
                                               orion_error *err);
/// Leaves the session with the text fed, without guesses; NULL is ignored.
ORION_API void orion_speculator_destroy(orion_speculator *p);

/// Guesses at once, whatever those programs cost to compile: for long-lived sessions, which have them anyway, and tests.
ORION_API void orion_speculator_be_eager(orion_speculator *p);

/// Appends tokens to the text, as orion_session_feed does and with its failures. After one the text is what it was, and
/// there are no logits until the next feed.
ORION_API orion_status orion_speculator_feed(orion_speculator *p, const int32_t *tokens, size_t n, orion_error *err);
ORION_API const float *orion_speculator_logits(const orion_speculator *p);  ///< fp32 [vocab]; NULL if none are valid

typedef struct orion_speculator_info {
  uint64_t passes;    ///< runs of the model for single tokens and their guesses
  uint64_t guessed;   ///< tokens that were fed as guesses
  uint64_t accepted;  ///< of these, those that came true
} orion_speculator_info;
ORION_API void orion_speculator_describe(const orion_speculator *p, orion_speculator_info *out);

#ifdef __cplusplus
}
#endif
#endif
