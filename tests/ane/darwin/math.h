#ifndef DARWIN_MATH_H
#define DARWIN_MATH_H
#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
float fabsf(float);
float sinf(float);
float cosf(float);
float sqrtf(float);
float powf(float, float);
double pow(double, double);
#endif
