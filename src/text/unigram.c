// SentencePiece's unigram model: of all ways to write a text as pieces, the one with the highest sum of scores
// (Viterbi). An unknown character costs a little more than the worst piece. Time is O(text * longest piece).
#include "text/impl.h"
#include "text/utf8.h"

static orion_status fill_nodes(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  if (n >= INT32_MAX) return ORION_FAIL(err, ORION_LIMIT, "tokenizer: a piece of %zu bytes (want less than 2^31)", n);
  if (!ORION_GROW(e->allocator, &e->nodes, &e->nodes_cap, n + 1)) return ORION_OOM(err, "tokenizer");
  orion_unigram_node *nodes = e->nodes;
  for (size_t i = 0; i <= n; i++) nodes[i] = (orion_unigram_node){0, -2, 0};  // -2: not reached
  nodes[0].id = -1;
  for (size_t i = 0, k; i < n; i += k) {
    k = orion_utf8_step(text + i, n - i);
    bool single = false;
    for (size_t j = i; j < n && j - i < t->longest;) {
      j += orion_utf8_step(text + j, n - j);
      int32_t id = orion_vocab_find(&t->vocab, text + i, j - i);
      if (id < 0 || !(t->vocab.flags[id] & ORION_TOKEN_PLAIN)) continue;
      single = single || j == i + k;
      float score = nodes[i].score + t->scores[id];
      if (nodes[j].id == -2 || score > nodes[j].score) nodes[j] = (orion_unigram_node){score, id, (uint32_t)i};
    }
    float score = nodes[i].score + t->unknown_score;
    if (!single && (nodes[i + k].id == -2 || score > nodes[i + k].score)) {
      nodes[i + k] = (orion_unigram_node){score, -1, (uint32_t)i};
    }
  }
  return ORION_OK;
}

orion_status orion_unigram_encode(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  ORION_TRY(fill_nodes(e, text, n, err));
  // The path is linked backwards; turn it round in place: node at `begin` then says where its token ends.
  orion_unigram_node *nodes = e->nodes;
  size_t end = n;
  orion_unigram_node carry = nodes[n];
  while (end > 0) {
    size_t begin = carry.begin;
    orion_unigram_node before = nodes[begin];
    nodes[begin] = (orion_unigram_node){0, carry.id, (uint32_t)end};
    carry = before;
    end = begin;
  }
  for (size_t i = 0; i < n; i = e->nodes[i].begin) {
    const orion_unigram_node *node = &e->nodes[i];
    ORION_TRY(node->id >= 0 ? orion_encoder_emit(e, node->id, err)
                            : orion_encoder_emit_unknown(e, text + i, node->begin - i, err));
  }
  return ORION_OK;
}
