/* Encoded bytes, shared: a block is encoded once, frame headers included, and referenced from every
 * stream that it stands in. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Longest write, in bytes: a frame with 65,535 bytes of payload and its header. */
#define BLOCK_WRITE_MAX 65539

struct block {
	uint32_t refs;
	uint32_t slice; /* bytes per write, each ending where a frame does; len: all in one */
	size_t len;
	unsigned char bytes[];
};

/* Room for `len` bytes, written in one; the caller owns the one reference. */
struct block *block_create(size_t len);
/* Concatenates blocks of BLOCK_WRITE_MAX bytes in all, in order; the caller keeps its references to
 * the parts. */
struct block *block_join(struct block *const *blocks, size_t n);
struct block *block_ref(struct block *block);
/* Releases a reference and sets the caller's pointer to NULL. NULL is accepted. */
void block_unref(struct block **block);
