// The checking allocator. A block in memory, for alignment A (at least 16):
//
//   base                      payload (multiple of A)            payload + size
//    | ..., tag, front canary  |  size bytes                      | back canary |
//
// The tag leads from the payload to the block's record and cannot be right by accident, so freeing what is not alive is
// found at once (under ASan by the read of the tag itself) without searching a list.
#include "support/support.h"

#include <pthread.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define CANARY 32
#define CANARY_BYTE 0xC7
#define TAG_MIX 0x6f72696f6e746167u

typedef struct block_tag {
  struct test_block *block;
  uintptr_t check;  // block, payload and TAG_MIX together
} block_tag;

typedef struct test_block {
  struct test_block *next, *previous;
  unsigned char *base;  // what the C library gave
  unsigned char *payload;
  size_t size, align, call;
} test_block;

static void broken(const char *what, const void *ptr, size_t got, size_t want) {
  fprintf(stderr, "test allocator: %s (block %p: got %zu, expected %zu)\n", what, ptr, got, want);
  abort();
}

static void *heap_alloc(void *ctx, size_t size, size_t align) {
  test_heap *heap = ctx;
  if (size == 0) broken("a size of 0", NULL, size, 1);
  if (align == 0 || (align & (align - 1))) broken("an alignment that is no power of two", NULL, align, 16);
  pthread_mutex_lock(heap->mutex);
  size_t call = ++heap->calls;
  bool fail = heap->fail_at && (call == heap->fail_at || (heap->fail_rest && call > heap->fail_at));
  pthread_mutex_unlock(heap->mutex);
  if (fail) return NULL;

  size_t step = align < 16 ? 16 : align;
  size_t lead = (sizeof(block_tag) + CANARY + step - 1) / step * step, total;
  if (__builtin_add_overflow(size, lead + CANARY + step, &total)) return NULL;
  unsigned char *base = malloc(total);
  test_block *block = malloc(sizeof *block);
  if (!base || !block) {
    free(base);
    free(block);
    return NULL;
  }
  unsigned char *payload = base + lead;
  payload += (step - (uintptr_t)payload % step) % step;
  *block = (test_block){.base = base, .payload = payload, .size = size, .align = align, .call = call};
  memset(payload - CANARY, CANARY_BYTE, CANARY);
  memset(payload, 0xA5, size);
  memset(payload + size, CANARY_BYTE, CANARY);
  POISON(payload - CANARY, CANARY);
  POISON(payload + size, CANARY);

  pthread_mutex_lock(heap->mutex);
  block->next = heap->blocks;
  if (heap->blocks) heap->blocks->previous = block;
  heap->blocks = block;
  heap->live_blocks++;
  heap->live_bytes += size;
  if (heap->live_bytes > heap->peak_bytes) heap->peak_bytes = heap->live_bytes;
  pthread_mutex_unlock(heap->mutex);
  block_tag tag = {block, (uintptr_t)block ^ (uintptr_t)payload ^ (uintptr_t)TAG_MIX};
  memcpy(payload - CANARY - sizeof tag, &tag, sizeof tag);
  return payload;
}

static void release(test_heap *heap, test_block *block) {
  if (block->next) block->next->previous = block->previous;
  if (block->previous) {
    block->previous->next = block->next;
  } else {
    heap->blocks = block->next;
  }
  heap->live_blocks--;
  heap->live_bytes -= block->size;
  UNPOISON(block->payload - CANARY, block->size + 2 * CANARY);
  for (size_t i = 0; i < CANARY; i++) {
    if (block->payload[-1 - (ptrdiff_t)i] != CANARY_BYTE) broken("written before its start", block->payload, i + 1, 0);
    if (block->payload[block->size + i] != CANARY_BYTE) broken("written past its end", block->payload, i, block->size);
  }
  memset(block->payload - CANARY - sizeof(block_tag), 0xDD, sizeof(block_tag) + CANARY + block->size);
  free(block->base);
  free(block);
}

static void heap_free(void *ctx, void *ptr, size_t size, size_t align) {
  test_heap *heap = ctx;
  if (!ptr) broken("free of NULL reached the allocator", ptr, 0, 0);
  block_tag tag;
  memcpy(&tag, (unsigned char *)ptr - CANARY - sizeof tag, sizeof tag);
  if (tag.check != ((uintptr_t)tag.block ^ (uintptr_t)ptr ^ (uintptr_t)TAG_MIX)) {
    broken("free of something not alive", ptr, 0, 0);
  }
  test_block *b = tag.block;
  pthread_mutex_lock(heap->mutex);
  if (b->size != size) broken("freed with another size", ptr, size, b->size);
  if (b->align != align) broken("freed with another alignment", ptr, align, b->align);
  release(heap, b);
  pthread_mutex_unlock(heap->mutex);
}

void test_heap_init(test_heap *heap) {
  *heap = (test_heap){.allocator = {heap, heap_alloc, heap_free}};
  pthread_mutex_t *mutex = malloc(sizeof *mutex);
  if (!mutex || pthread_mutex_init(mutex, NULL) != 0) abort();
  heap->mutex = mutex;
}

void test_heap_deinit(test_heap *heap) {
  size_t blocks = heap->live_blocks, bytes = heap->live_bytes, call = heap->blocks ? heap->blocks->call : 0;
  size_t size = heap->blocks ? heap->blocks->size : 0;
  while (heap->blocks) release(heap, heap->blocks);
  pthread_mutex_destroy(heap->mutex);
  free(heap->mutex);
  heap->mutex = NULL;
  if (blocks) {
    fail_msg("%zu blocks leaked, %zu bytes; the newest: %zu bytes from alloc call %zu", blocks, bytes, size, call);
  }
}

void test_heap_fail_at(test_heap *heap, size_t n, bool rest) {
  pthread_mutex_lock(heap->mutex);
  heap->fail_at = n ? heap->calls + n : 0;
  heap->fail_rest = rest;
  pthread_mutex_unlock(heap->mutex);
}

void test_sweep_allocations(test_sweep_fn run, void *ctx, size_t max_runs) {
  test_heap heap;
  orion_error err = {0};
  test_heap_init(&heap);
  orion_status status = run(ctx, &heap.allocator, &err);
  size_t calls = heap.calls;
  test_heap_deinit(&heap);
  assert_ok(status, &err);

  size_t step = 1 + calls / (max_runs ? max_runs : 2000);
  for (size_t n = 1; n <= calls; n += step) {
    for (int rest = 0; rest < 2; rest++) {
      test_heap_init(&heap);
      test_heap_fail_at(&heap, n, rest);
      err = (orion_error){0};
      status = run(ctx, &heap.allocator, &err);
      bool reached = heap.calls >= n;  // threads may make the number of calls vary a little
      size_t live = heap.live_blocks;
      if (live) print_error("leak when alloc call %zu of %zu fails (message: %s)\n", n, calls, err.message);
      test_heap_deinit(&heap);
      if (reached && status != ORION_NO_MEMORY) {
        fail_msg("alloc call %zu of %zu failed%s: status is '%s' (%s), expected '%s'", n, calls,
                 rest ? " with all later ones" : "", orion_status_name(status), err.message,
                 orion_status_name(ORION_NO_MEMORY));
      }
    }
  }
}
