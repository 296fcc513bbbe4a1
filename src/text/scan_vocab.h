// The large, plain JSON file of every start: {"token": id, ...}, as vocab.json has it. The JSON library builds fifty thousand
// objects of it, which takes longer than all else that a start does with text.
#ifndef ORION_TEXT_SCAN_VOCAB_H
#define ORION_TEXT_SCAN_VOCAB_H

#include "text/vocab.h"

// Adds all tokens to `v`, which is empty. False where the file is anything but one flat object of texts in UTF-8 and
// ids without sign, fraction or exponent, where a token or an id comes twice, or memory ends: what `v` then holds is to be
// thrown away, and the JSON library asked, which knows what is wrong.
bool orion_scan_vocab(orion_vocab *v, const char *json, size_t n);

#endif
