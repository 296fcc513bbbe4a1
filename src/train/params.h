// The weights under training: fp32 masters with their two moments, in memory of their own.
//
// `model` is a model whose weights are leaves over the masters. So a program built from it holds the values of the moment
// it is compiled in, saving it writes the current ones, and nothing ever writes to the model that training began with.
// Masters lie in surfaces of the device (host memory the device can read): a program that takes weights as inputs in
// fp32 reads the masters themselves, and an update costs nothing.
#ifndef ORION_TRAIN_PARAMS_H
#define ORION_TRAIN_PARAMS_H

#include "model/adapter.h"
#include "orion/device.h"

typedef struct orion_param {
  const char *name;          // "model.layers.3.mlp.up_proj.weight"; parts of a joint tensor end in ".0", ".1", ...
  const orion_data *data;    // the leaf in `model`
  orion_surface *surface;    // holds `value`; its layout is [rows, cols] of fp32, or [rows]
  size_t rows, cols, n;      // n = rows * cols
  bool matrix;               // two axes: weight decay applies
  float *value, *m, *v;      // master, first and second moment: n of each
} orion_param;

typedef struct orion_params {
  const orion_allocator *allocator;
  orion_model *model;
  orion_adapter *adapter;    // NULL: all weights of `model` are trained; else these are, over a model that stays as it is
  orion_lora_slots lora;     // of the adapter
  double lora_scale;         // alpha / rank
  orion_param *list;
  size_t n, cap;
  size_t elements;           // of all
  float *moments;            // all m and v, one block
  size_t moment_count;
  orion_arena arena;         // names
} orion_params;

// Copies the weights of `from`, which may then be closed. The device must outlive the result.
orion_status orion_params_create(const orion_model *from, orion_device *device, orion_params **out, orion_error *err);
// The matrices of an adapter instead, named as model graphs call them: A random, B zeros (the model begins as it is); or those
// of `start`, where it is not NULL (its rank, projections and scale then count). Keeps what it needs of `from`.
orion_status orion_params_create_lora(const orion_model *from, orion_device *device, const orion_lora_slots *slots,
                                      double scale, const orion_adapter *start, uint64_t seed, orion_params **out,
                                      orion_error *err);
// Values from an adapter of the same rank and projections.
orion_status orion_params_copy_adapter(orion_params *p, const orion_adapter *from, orion_error *err);
void orion_params_destroy(orion_params *p);  // NULL is ignored
// Values from a model of the same configuration.
orion_status orion_params_copy(orion_params *p, const orion_model *from, orion_error *err);
// A model for one compilation: leaves over the masters in a store of its own, so that what compiling notes there goes when
// the program does. out_leaves[p->n]: the leaf of each weight. The masters must outlive what is built from it.
orion_status orion_params_view(const orion_params *p, const orion_data **out_leaves, orion_model **out, orion_error *err);

// For makers of params: adds one (its name stays the caller's, NULL is out of memory); and, at the end, all moments, zeros.
orion_status orion_params_add(orion_params *p, orion_device *device, const char *name, size_t rows, size_t cols, bool matrix,
                              orion_param **out, orion_error *err);
orion_status orion_params_make_moments(orion_params *p, orion_error *err);

orion_param *orion_params_find(const orion_params *p, const char *name);  // NULL if absent

#endif
