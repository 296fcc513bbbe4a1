/// Low-rank adapters (LoRA): small changes to a model's projections, kept apart from its weights.
///
/// An adapter is read from a PEFT directory for a model. A session that was made with slots for adapters
/// (orion_session_options.lora_rank) takes one or several of them as a mix, and changes mixes between two tokens: nothing is
/// compiled, and nothing is copied.
///
///   adapter_open (for a model) -> mix_create (for a session) -> session_use -> feed, feed -> session_use another -> ...
#ifndef ORION_ADAPTER_H
#define ORION_ADAPTER_H

#include "orion/session.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_adapter orion_adapter;

/// Opens a PEFT directory (adapter_config.json, adapter_model.safetensors) and checks it against the model, which may be
/// closed before the adapter is. Fails with ORION_NOT_FOUND, ORION_FORMAT (malformed, incomplete, or of another model: the
/// message names the tensor), ORION_UNSUPPORTED (DoRA, biases, and others that are no sum of A and B), ORION_NO_MEMORY.
ORION_API orion_status orion_adapter_open(const orion_model *m, const char *path, orion_adapter **out, orion_error *err);
ORION_API void orion_adapter_close(orion_adapter *a);  ///< NULL is ignored

typedef struct orion_adapter_info {
  int64_t rank;            ///< the largest of its projections
  char targets[32];        ///< projections it changes: "q,v"
  uint64_t parameters;     ///< numbers in A and B
  uint64_t file_bytes;
  bool head;               ///< brings a classifier of its own, which merging takes over and a session does not
} orion_adapter_info;
ORION_API void orion_adapter_describe(const orion_adapter *a, orion_adapter_info *out);

/// Writes a PEFT directory; `half` stores fp16 instead of fp32.
ORION_API orion_status orion_adapter_save(const orion_adapter *a, const char *dir, bool half, orion_error *err);

/// ---- mixes ---- One or more adapters with their scales, ready for one session.

typedef struct orion_mix orion_mix;

typedef struct orion_mix_part {
  const orion_adapter *adapter;  ///< needed only during orion_mix_create
  double scale;                  ///< 1: as trained
} orion_mix_part;

/// Puts the adapters side by side into memory of the device, in the form the session's programs read. ORION_LIMIT if their
/// ranks together exceed the session's; ORION_INVALID if one changes a projection that has no slot.
ORION_API orion_status orion_mix_create(orion_session *s, const orion_mix_part *parts, size_t n, orion_mix **out,
                                        orion_error *err);
ORION_API void orion_mix_destroy(orion_mix *mix);  ///< NULL is ignored; before its session. If in use, none is afterwards

/// From the next token on the session computes with this mix (NULL: with the model alone). Tokens fed before keep the keys
/// and values that they were given. A pointer changes hands; nothing else happens.
ORION_API void orion_session_use(orion_session *s, orion_mix *mix);
ORION_API orion_mix *orion_session_used(const orion_session *s);  ///< NULL: none

/// Other scales for the parts of a mix, in their order; takes effect with the next token.
ORION_API void orion_mix_scale(orion_mix *mix, const double *scales);  ///< finite ones

/// Like orion_session_feed, with scales of its own for each token: `scales` is [n, parts of the mix in use]. So one run
/// serves tokens under different adapters.
ORION_API orion_status orion_session_feed_scaled(orion_session *s, const int32_t *tokens, size_t n, const double *scales,
                                                 orion_error *err);

#ifdef __cplusplus
}
#endif
#endif
