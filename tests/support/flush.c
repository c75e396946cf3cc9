/* Preloaded into PostgreSQL: simulates a disk that needs FLUSH_MS milliseconds for each flush.
 * Nothing is really flushed, so figures do not depend on the disk of the machine. */
#include <stdlib.h>
#include <time.h>

int fdatasync(int fd);
int fsync(int fd);

static int flush(void)
{
	const char *value = getenv("FLUSH_MS");
	long ms = value ? strtol(value, NULL, 10) : 0;
	const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&pause, NULL);
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
