// Rules of the model graphs' composites. Their gradients are composites too: each layout opens them in its own way, as
// it does the forward ones. A rotation is undone by the rotation the other way.
#include "grad/backward.h"

void orion_grad_rms_norm(orion_backward *w, const orion_op *op, orion_ref dy) {
  orion_value_id d[2];
  orion_in in[] = {{"x", orion_back_arg(w, op, "x")},
                   {"gamma", orion_back_arg(w, op, "gamma")},
                   {"dy", dy},
                   {"epsilon", orion_back_arg(w, op, "epsilon")},
                   {"groups", orion_back_arg(w, op, "groups")},
                   {0}};
  orion_build_multi(&w->b, "grad", ORION_OP_orion_rms_norm_grad, in, 2, d);
  orion_back_give(w, op, "x", d[0]);
  orion_back_give(w, op, "gamma", d[1]);
}

void orion_grad_rope(orion_backward *w, const orion_op *op, orion_ref dy) {
  if (orion_back_wants(w, op, "cos") || orion_back_wants(w, op, "sin")) {
    orion_back_refuse(w, op, "the tables of the rotation have no gradient");
    return;
  }
  orion_ref back = orion_back_times(w, orion_back_arg(w, op, "sin"), -1);
  orion_back_give(w, op, "x",
                  ORION_BUILD(&w->b, "turned", ORION_OP_orion_rope, {"x", dy}, {"cos", orion_back_arg(w, op, "cos")},
                              {"sin", back}, {"heads", orion_back_arg(w, op, "heads")}));
}

void orion_grad_attention(orion_backward *w, const orion_op *op, orion_ref dy) {
  static const char *const kept[] = {"q", "k", "v", "heads", "kv_heads", "scale", "batch"};
  orion_value_id d[3];
  orion_in in[10] = {{"y", orion_back_result(w, op)}, {"dy", dy}};
  if (orion_op_arg(op, "k_cache")) {
    orion_back_refuse(w, op, "attention over a cache has no gradient (train on whole sequences)");
    return;
  }
  for (int i = 0; i < 7; i++) in[2 + i] = (orion_in){kept[i], orion_back_arg(w, op, kept[i])};
  orion_build_multi(&w->b, "grad", ORION_OP_orion_attention_grad, in, 3, d);
  for (int i = 0; i < 3; i++) orion_back_give(w, op, kept[i], d[i]);
}

void orion_grad_cross_entropy(orion_backward *w, const orion_op *op, orion_ref dy) {
  orion_back_give(
      w, op, "logits",
      ORION_BUILD(&w->b, "grad", ORION_OP_orion_cross_entropy_grad, {"logits", orion_back_arg(w, op, "logits")},
                  {"targets", orion_back_arg(w, op, "targets")}, {"dloss", dy}));
}
