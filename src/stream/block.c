#include "block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct block *block_create(size_t len)
{
	struct block *block = xmalloc(sizeof *block + len);
	*block = (struct block){.refs = 1, .slice = (uint32_t)len, .len = len};
	return block;
}

struct block *block_join(struct block *const *blocks, size_t n)
{
	size_t len = 0;
	for (size_t i = 0; i < n; i++)
		len += blocks[i]->len;
	assert(len <= BLOCK_WRITE_MAX);
	struct block *joined = block_create(len);
	unsigned char *out = joined->bytes;
	for (size_t i = 0; i < n; i++) {
		memcpy(out, blocks[i]->bytes, blocks[i]->len);
		out += blocks[i]->len;
	}
	return joined;
}

struct block *block_ref(struct block *block)
{
	block->refs++;
	return block;
}

void block_unref(struct block **block)
{
	struct block *old = *block;
	*block = NULL;
	if (old && --old->refs == 0)
		free(old);
}
