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

// With h = x a^T and e = dy b^T, both [T, R] and cheap: db = h^T dy, da = e^T x, dx = e a. h is computed again rather than
// asked of the forward part, which need not have it as a value; the pass `cse` finds the two where they meet.
void orion_grad_lora(orion_backward *w, const orion_op *op, orion_ref dy) {
  if (orion_back_wants(w, op, "gate")) {
    orion_back_refuse(w, op, "the gate of an adapter has no gradient");
    return;
  }
  double scale = 1;
  orion_op_float(w->from, op, "scale", &scale);
  orion_ref x = orion_back_arg(w, op, "x"), a = orion_back_arg(w, op, "a"), b = orion_back_arg(w, op, "b");
  orion_ref gate = orion_back_arg(w, op, "gate");
  orion_ref e = orion_back_times(w, orion_back_matmul(w, dy, b, false, true), scale);
  if (gate != ORION_NONE) e = mul(w, e, gate);
  if (orion_back_wants(w, op, "b")) {
    orion_ref h = orion_back_times(w, ORION_BUILD(&w->b, NULL, ORION_OP_linear, {"x", x}, {"weight", a}), scale);
    if (gate != ORION_NONE) h = mul(w, h, gate);
    orion_back_give(w, op, "b", orion_back_matmul(w, h, dy, true, false));
  }
  if (orion_back_wants(w, op, "a")) orion_back_give(w, op, "a", orion_back_matmul(w, e, x, true, false));
  if (orion_back_wants(w, op, "x")) orion_back_give(w, op, "x", orion_back_matmul(w, e, a, false, false));
}

void orion_grad_cross_entropy(orion_backward *w, const orion_op *op, orion_ref dy) {
  orion_back_give(
      w, op, "logits",
      ORION_BUILD(&w->b, "grad", ORION_OP_orion_cross_entropy_grad, {"logits", orion_back_arg(w, op, "logits")},
                  {"targets", orion_back_arg(w, op, "targets")}, {"dloss", dy}));
}
