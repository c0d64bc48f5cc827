/* Keeps a peer on the loopback interface: preloaded, it turns every bind() to "any address" into one to loopback.
 * Orthanc 1.10 and dcmtk's storescp have no option for it. Built by tests/processes.py with: cc -shared -fPIC */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int descriptor, const struct sockaddr *address, socklen_t length) {
  int (*next_bind)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  struct sockaddr_storage changed;
  if (address == NULL || length > sizeof changed) return next_bind(descriptor, address, length);
  memset(&changed, 0, sizeof changed);
  memcpy(&changed, address, length);
  struct sockaddr_in *four = (struct sockaddr_in *)&changed;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&changed;
  if (changed.ss_family == AF_INET && four->sin_addr.s_addr == htonl(INADDR_ANY))
    four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (changed.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) six->sin6_addr = in6addr_loopback;
  return next_bind(descriptor, (struct sockaddr *)&changed, length);
}
