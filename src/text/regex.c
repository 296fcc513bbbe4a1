// See regex.h.
//
// Tokenizer patterns are written for other engines (Rust's regex, Oniguruma, Python's regex), whose \s is the Unicode
// property White_Space and whose \w has more than letters and digits. PCRE2's differ, so \s, \S and \w are rewritten to
// properties before compiling. Nothing else in the patterns in use differs.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "base/strbuf.h"
#include "text/utf8.h"

struct orion_regex {
  const orion_allocator *allocator;
  pcre2_general_context *general;
  pcre2_code *code;
  bool jit;
};

struct orion_regex_scratch {
  const orion_allocator *allocator;
  pcre2_general_context *general;
  pcre2_match_context *match;
  pcre2_match_data *data;
  pcre2_jit_stack *stack;
};

// PCRE2 frees without a size; ours wants one: it stands in front of the block.
static void *pcre_alloc(size_t size, void *ctx) {
  size_t whole;
  if (!orion_add_ok(size, ORION_ALIGN_DEFAULT, &whole)) return NULL;
  size_t *block = orion_alloc(ctx, whole, 1);
  if (!block) return NULL;
  *block = whole;
  return (char *)block + ORION_ALIGN_DEFAULT;
}

static void pcre_free(void *ptr, void *ctx) {
  if (!ptr) return;
  size_t *block = (size_t *)(void *)((char *)ptr - ORION_ALIGN_DEFAULT);
  orion_free(ctx, block, *block, 1);
}

static pcre2_general_context *general_context(const orion_allocator *a) {
  return pcre2_general_context_create(pcre_alloc, pcre_free, (void *)(uintptr_t)a);
}

static void rewrite(orion_strbuf *b, const char *pattern, size_t n) {
  bool in_class = false;
  for (size_t i = 0; i < n; i++) {
    char c = pattern[i];
    if (c == '\\' && i + 1 < n) {
      char e = pattern[++i];
      if (e == 's') {
        orion_strbuf_adds(b, "\\p{White_Space}");
      } else if (e == 'S') {
        orion_strbuf_adds(b, "\\P{White_Space}");
      } else if (e == 'w') {
        static const char word[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]";
        orion_strbuf_add(b, word + in_class, sizeof word - 1 - 2 * in_class);  // without the brackets inside a class
      } else {
        orion_strbuf_add(b, pattern + i - 1, 2);
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
      orion_strbuf_addc(b, c);
      if (i + 1 < n && pattern[i + 1] == '^') orion_strbuf_addc(b, pattern[++i]);
      if (i + 1 < n && pattern[i + 1] == ']') orion_strbuf_addc(b, pattern[++i]);  // a ] in first place is a member
      continue;
    }
    if (c == ']') in_class = false;
    orion_strbuf_addc(b, c);
  }
}

orion_status orion_regex_create(const orion_allocator *a, const char *pattern, size_t n, bool literal, const char *name,
                                orion_regex **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_status status = ORION_OK;
  pcre2_compile_context *compile = NULL;
  orion_strbuf text;
  orion_strbuf_init(&text, a);
  orion_regex *re = orion_alloc_zero(a, 1, sizeof *re);
  if (!re) return ORION_OOM(err, name);
  re->allocator = a;
  if (literal) {
    orion_strbuf_add(&text, pattern, n);
  } else {
    rewrite(&text, pattern, n);
  }
  status = orion_strbuf_status(&text, err);
  if (status != ORION_OK) goto done;
  re->general = general_context(a);
  if (re->general) compile = pcre2_compile_context_create(re->general);
  if (!compile) {
    status = ORION_OOM(err, name);
    goto done;
  }
  pcre2_set_parens_nest_limit(compile, 100);
  int code;
  PCRE2_SIZE at;
  uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  re->code = pcre2_compile((PCRE2_SPTR)orion_strbuf_text(&text), text.size, options, &code, &at, compile);
  if (!re->code && code == PCRE2_ERROR_HEAP_FAILED) {
    status = ORION_OOM(err, name);
  } else if (!re->code) {
    PCRE2_UCHAR why[160];
    pcre2_get_error_message(code, why, sizeof why);
    status = ORION_FAIL(err, ORION_FORMAT, "%s: regular expression \"%.60s\": %s (at offset %zu)", name,
                        orion_strbuf_text(&text), (const char *)why, (size_t)at);
  } else {
    int jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
    re->jit = jit == 0;
    if (jit == PCRE2_ERROR_NOMEMORY) status = ORION_OOM(err, name);  // other failures: this machine has no JIT
  }
done:
  pcre2_compile_context_free(compile);
  orion_strbuf_deinit(&text);
  if (status == ORION_OK) {
    *out = re;
  } else {
    orion_regex_destroy(re);
  }
  return status;
}

void orion_regex_destroy(orion_regex *re) {
  if (!re) return;
  pcre2_code_free(re->code);
  pcre2_general_context_free(re->general);
  orion_free(re->allocator, re, 1, sizeof *re);
}

orion_status orion_regex_scratch_create(const orion_allocator *a, orion_regex_scratch **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_regex_scratch *s = orion_alloc_zero(a, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "tokenizer");
  s->allocator = a;
  s->general = general_context(a);
  if (s->general) s->match = pcre2_match_context_create(s->general);
  if (s->general) s->data = pcre2_match_data_create(1, s->general);
  uint32_t jit = 0;
  pcre2_config(PCRE2_CONFIG_JIT, &jit);
  if (s->general && jit) s->stack = pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, s->general);
  if (!s->match || !s->data || (jit && !s->stack)) {
    orion_regex_scratch_destroy(s);
    return ORION_OOM(err, "tokenizer");
  }
  if (s->stack) pcre2_jit_stack_assign(s->match, NULL, s->stack);
  *out = s;
  return ORION_OK;
}

void orion_regex_scratch_destroy(orion_regex_scratch *s) {
  if (!s) return;
  pcre2_jit_stack_free(s->stack);
  pcre2_match_data_free(s->data);
  pcre2_match_context_free(s->match);
  pcre2_general_context_free(s->general);
  orion_free(s->allocator, s, 1, sizeof *s);
}

orion_status orion_regex_find(const orion_regex *re, orion_regex_scratch *s, const uint8_t *text, size_t n, size_t from,
                              size_t *out_begin, size_t *out_end, orion_error *err) {
  while (from < n) {
    int rc = re->jit ? pcre2_jit_match(re->code, text, n, from, PCRE2_NO_UTF_CHECK, s->data, s->match)
                     : pcre2_match(re->code, text, n, from, PCRE2_NO_UTF_CHECK, s->data, s->match);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc == PCRE2_ERROR_NOMEMORY) return ORION_OOM(err, "tokenizer");
    if (rc < 0) {
      PCRE2_UCHAR why[160];
      pcre2_get_error_message(rc, why, sizeof why);
      return ORION_FAIL(err, ORION_LIMIT, "tokenizer: the pattern gives up on the text at byte %zu: %s", from,
                        (const char *)why);
    }
    const PCRE2_SIZE *match = pcre2_get_ovector_pointer(s->data);
    if (match[1] > match[0] && match[0] >= from) {
      *out_begin = match[0];
      *out_end = match[1];
      return ORION_OK;
    }
    size_t at = match[1] > from ? match[1] : from;  // empty (or moved by \K): go on one character later
    from = at < n ? at + orion_utf8_step(text + at, n - at) : n;
  }
  *out_begin = *out_end = n;
  return ORION_OK;
}
