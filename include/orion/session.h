/// A session: a model on a device, a text so far, and the logits of what comes next.
#ifndef ORION_SESSION_H
#define ORION_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "orion/device.h"
#include "orion/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_session orion_session;

typedef struct orion_session_options {
  size_t struct_size;       ///< sizeof(orion_session_options)
  int64_t context;          ///< positions at most, up to the model's; 0: the model's
  const char *target;       ///< compile for "cpu" or a chip family "m1".."m6"; NULL: what the device runs best
  const char *weights;      ///< "fp16", "fp32", "int8", "int4"; NULL: fp16, and integers where the model has them
  int64_t lora_rank;        ///< compile slots in that take adapters of this rank together (adapter.h); 0: none
  const char *lora_targets; ///< projections that get one, "q,k,v,o,gate,up,down"; NULL: all that the model has
  const char *passes;       ///< optimisation passes; NULL: the target's
} orion_session_options;

ORION_API void orion_session_options_init(orion_session_options *o);

/// Compiles the programs for single tokens; those for longer runs are compiled when first needed. The model and the
/// device must outlive the session. One thread at a time.
ORION_API orion_status orion_session_create(orion_model *model, orion_device *device, const orion_session_options *o,
                                            orion_session **out, orion_error *err);
ORION_API void orion_session_destroy(orion_session *s);

ORION_API int64_t orion_session_context(const orion_session *s);   ///< positions at most
ORION_API int64_t orion_session_position(const orion_session *s);  ///< tokens fed so far
ORION_API int64_t orion_session_vocab(const orion_session *s);

/// Appends tokens to the text. Afterwards orion_session_logits gives the logits after the last of them. ORION_LIMIT if
/// the context would overflow (nothing is changed then); ORION_INVALID for a token outside the vocabulary; ORION_NUMERIC
/// if a value became NaN or infinite, naming the first place seen. After a failure the text is what it was before, but
/// unless it is ORION_LIMIT or ORION_INVALID there are no logits until the next feed. Feeding 0 tokens does nothing.
ORION_API orion_status orion_session_feed(orion_session *s, const int32_t *tokens, size_t n, orion_error *err);
ORION_API const float *orion_session_logits(const orion_session *s);  ///< fp32 [vocab]; NULL if none are valid

/// Like feed, and calls `each` with the logits after every token, in order. For evaluation.
typedef orion_status (*orion_logits_fn)(void *ctx, size_t index, const float *logits, orion_error *err);
ORION_API orion_status orion_session_feed_all(orion_session *s, const int32_t *tokens, size_t n, orion_logits_fn each,
                                              void *ctx, orion_error *err);

/// Forgets all tokens from `position` on (0: starts anew), and the logits with them. Nothing if there are none.
ORION_API void orion_session_truncate(orion_session *s, int64_t position);

typedef struct orion_session_info {
  const char *target;
  size_t decode_runs;       ///< program runs that one token costs
  size_t prefill_runs;      ///< program runs that the last multi-token feed cost
  size_t weight_bytes;      ///< constants that one token reads
  double width_seconds;     ///< what a program of one more width takes to compile, as far as is known; 0: none needed
  int64_t last_bucket;      ///< width of the program that the last multi-token feed used; 0 if none
} orion_session_info;
ORION_API void orion_session_describe(const orion_session *s, orion_session_info *out);

#ifdef __cplusplus
}
#endif
#endif
