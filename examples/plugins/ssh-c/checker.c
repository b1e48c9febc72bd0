// A health checker in C: does an SSH server greet whoever connects?
//
// The user writes `health_check: {ssh: {port: 22}}`.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh.h"

// Time for one check. Less than the pause of the host between two of them.
static const uint64_t TIMEOUT_NS = 3000000000;

static const char SCHEMA[] =
    "{\"type\":\"object\",\"properties\":{\"port\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":65535,\"default\":22}},"
    "\"additionalProperties\":false}";

void exports_occopus_types_plugin_describe(exports_occopus_types_plugin_description_t *it) {
  memset(it, 0, sizeof *it);
  ssh_string_dup(&it->name, "ssh");
  ssh_string_dup(&it->version, "0.1.0");
  ssh_string_dup(&it->keyword, "ssh");
  ssh_string_dup(&it->summary, "an SSH server greets");
  ssh_string_dup(&it->section_schema, SCHEMA);
  ssh_string_dup(&it->credentials_schema, "");
  it->needs.network.ptr = malloc(sizeof(ssh_string_t));
  it->needs.network.len = 1;
  ssh_string_dup(it->needs.network.ptr, "node-address");
}

// Waits until one thing is ready. Returns false when the time is over.
static bool wait_for(wasi_io_poll_own_pollable_t thing, wasi_io_poll_own_pollable_t timer) {
  wasi_io_poll_borrow_pollable_t both[] = {wasi_io_poll_borrow_pollable(thing), wasi_io_poll_borrow_pollable(timer)};
  wasi_io_poll_list_borrow_pollable_t list = {both, 2};
  ssh_list_u32_t ready;
  wasi_io_poll_poll(&list, &ready);
  bool is_thing = ready.len > 0 && ready.ptr[0] == 0;
  ssh_list_u32_free(&ready);
  wasi_io_poll_pollable_drop_own(thing);
  return is_thing;
}

static const char *words(wasi_sockets_network_error_code_t code) {
  switch (code) {
    case WASI_SOCKETS_NETWORK_ERROR_CODE_ACCESS_DENIED: return "the host refused the connection";
    case WASI_SOCKETS_NETWORK_ERROR_CODE_CONNECTION_REFUSED: return "connection refused";
    case WASI_SOCKETS_NETWORK_ERROR_CODE_CONNECTION_RESET: return "connection reset";
    case WASI_SOCKETS_NETWORK_ERROR_CODE_REMOTE_UNREACHABLE: return "unreachable";
    case WASI_SOCKETS_NETWORK_ERROR_CODE_NAME_UNRESOLVABLE: return "the name has no address";
    case WASI_SOCKETS_NETWORK_ERROR_CODE_TIMEOUT: return "no answer in time";
    default: return "the connection failed";
  }
}

// Returns the first address of a name, with a port. A numeric address is returned as it is.
static const char *resolve(wasi_sockets_network_borrow_network_t network, ssh_string_t *name, uint16_t port,
                           wasi_io_poll_own_pollable_t timer, wasi_sockets_network_ip_socket_address_t *to) {
  wasi_sockets_ip_name_lookup_own_resolve_address_stream_t own;
  wasi_sockets_network_error_code_t code;
  if (!wasi_sockets_ip_name_lookup_resolve_addresses(network, name, &own, &code)) return words(code);
  wasi_sockets_ip_name_lookup_borrow_resolve_address_stream_t stream =
      wasi_sockets_ip_name_lookup_borrow_resolve_address_stream(own);
  wasi_sockets_ip_name_lookup_option_ip_address_t found;
  const char *why = NULL;
  while (!wasi_sockets_ip_name_lookup_method_resolve_address_stream_resolve_next_address(stream, &found, &code)) {
    if (code != WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK) {
      why = words(code);
    } else if (!wait_for(wasi_sockets_ip_name_lookup_method_resolve_address_stream_subscribe(stream), timer)) {
      why = "the name was not resolved in time";
    }
    if (why != NULL) break;
  }
  wasi_sockets_ip_name_lookup_resolve_address_stream_drop_own(own);
  if (why != NULL) return why;
  if (!found.is_some) return "the name has no address";
  memset(to, 0, sizeof *to);
  to->tag = found.val.tag;
  if (found.val.tag == WASI_SOCKETS_NETWORK_IP_ADDRESS_IPV4) {
    to->val.ipv4.port = port;
    to->val.ipv4.address = found.val.val.ipv4;
  } else {
    to->val.ipv6.port = port;
    to->val.ipv6.address = found.val.val.ipv6;
  }
  return NULL;
}

// Reads until the greeting is complete, or can't be one.
static const char *greeting(wasi_io_streams_borrow_input_stream_t input, wasi_io_poll_own_pollable_t timer) {
  static const char WANTED[] = "SSH-";
  size_t seen = 0;
  while (seen < 4) {
    ssh_list_u8_t part;
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_input_stream_read(input, 4 - seen, &part, &error)) {
      wasi_io_streams_stream_error_free(&error);
      return "the server closed the connection without a greeting";
    }
    bool fits = memcmp(part.ptr, WANTED + seen, part.len) == 0;
    size_t length = part.len;
    ssh_list_u8_free(&part);
    if (!fits) return "the server did not send an SSH greeting";
    seen += length;
    if (length == 0 && !wait_for(wasi_io_streams_method_input_stream_subscribe(input), timer)) {
      return "the server sent no greeting in time";
    }
  }
  return NULL;
}

// Checks the server once. Returns NULL if it is healthy, otherwise the cause.
static const char *check_once(ssh_string_t *name, uint16_t port, wasi_io_poll_own_pollable_t timer) {
  wasi_sockets_network_own_network_t own_network = wasi_sockets_instance_network_instance_network();
  wasi_sockets_network_borrow_network_t network = wasi_sockets_network_borrow_network(own_network);
  wasi_sockets_network_ip_socket_address_t to;
  const char *why = resolve(network, name, port, timer, &to);
  wasi_sockets_tcp_own_tcp_socket_t own;
  wasi_sockets_network_error_code_t code;
  if (why == NULL && !wasi_sockets_tcp_create_socket_create_tcp_socket(to.tag, &own, &code)) why = words(code);
  if (why == NULL) {
    wasi_sockets_tcp_borrow_tcp_socket_t socket = wasi_sockets_tcp_borrow_tcp_socket(own);
    wasi_sockets_tcp_tuple2_own_input_stream_own_output_stream_t streams;
    if (!wasi_sockets_tcp_method_tcp_socket_start_connect(socket, network, &to, &code)) {
      why = words(code);
    } else if (!wait_for(wasi_sockets_tcp_method_tcp_socket_subscribe(socket), timer)) {
      why = "no answer in time";
    } else if (!wasi_sockets_tcp_method_tcp_socket_finish_connect(socket, &streams, &code)) {
      why = words(code);
    } else {
      why = greeting(wasi_io_streams_borrow_input_stream(streams.f0), timer);
      wasi_io_streams_input_stream_drop_own(streams.f0);
      wasi_io_streams_output_stream_drop_own(streams.f1);
    }
    wasi_sockets_tcp_tcp_socket_drop_own(own);
  }
  wasi_sockets_network_network_drop_own(own_network);
  return why;
}

// Returns the port in the section, which the host has checked against the schema; 0 if it is not a port.
static long port_of(const ssh_string_t *section) {
  char text[256];
  snprintf(text, sizeof text, "%.*s", (int)section->len, (const char *)section->ptr);
  const char *key = strstr(text, "\"port\"");
  if (key == NULL) return 22;
  const char *value = strchr(key + 6, ':');
  return value == NULL ? 0 : strtol(value + 1, NULL, 10);
}

// Checks once, without retries: the host repeats the check. A fault is for errors that are permanent.
bool exports_occopus_health_checker_check(exports_occopus_health_checker_borrow_target_t target,
                                          exports_occopus_health_checker_observation_t *seen,
                                          exports_occopus_health_checker_fault_t *fault) {
  ssh_string_t section, address;
  occopus_health_inputs_method_target_section(target, &section);
  occopus_health_inputs_method_target_address(target, &address);
  // Borrowed handles are dropped before the end of the call.
  occopus_health_inputs_target_drop_borrow(target);
  long port = port_of(&section);
  ssh_string_free(&section);
  if (port < 1 || port > 65535) {
    ssh_string_free(&address);
    memset(fault, 0, sizeof *fault);
    fault->reaction = OCCOPUS_TYPES_TYPES_REACTION_GIVE_UP;
    ssh_string_dup(&fault->code, "ssh.bad-port");
    ssh_string_dup(&fault->message, "the port is not a number");
    fault->details.ptr = malloc(sizeof(occopus_types_types_detail_t));
    fault->details.len = 1;
    ssh_string_dup(&fault->details.ptr->pointer, "/port");
    ssh_string_dup(&fault->details.ptr->message, "a number from 1 to 65535 is needed here");
    return false;
  }
  wasi_io_poll_own_pollable_t timer = wasi_clocks_monotonic_clock_subscribe_duration(TIMEOUT_NS);
  const char *why = check_once(&address, (uint16_t)port, timer);
  wasi_io_poll_pollable_drop_own(timer);
  ssh_string_free(&address);
  char reason[128];
  snprintf(reason, sizeof reason, "port %ld: %s", port, why == NULL ? "an SSH server greets" : why);
  memset(seen, 0, sizeof *seen);
  seen->verdict = why == NULL ? EXPORTS_OCCOPUS_HEALTH_CHECKER_VERDICT_HEALTHY
                              : EXPORTS_OCCOPUS_HEALTH_CHECKER_VERDICT_UNHEALTHY;
  ssh_string_dup(&seen->reason, reason);
  return true;
}
