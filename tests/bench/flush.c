/* Preloaded into PostgreSQL: a disk that needs two milliseconds for each flush, whatever disk there
 * is. Nothing is flushed in truth, so what is measured does not hang on the machine's own disk. */
#include <time.h>

int fdatasync(int fd);
int fsync(int fd);

static int flush(void)
{
	const struct timespec two_ms = {.tv_nsec = 2000000};
	nanosleep(&two_ms, NULL);
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return flush();
}

int fsync(int fd)
{
	(void)fd;
	return flush();
}
