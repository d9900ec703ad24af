/* A slave of libmodbus: cc libmodbus_slave.c -o libmodbus_slave -lmodbus
 *
 *     libmodbus_slave tcp | libmodbus_slave rtu PORT BAUD
 *
 * Prints {"port": N} when it serves (0 on a serial line), unit 1 as the README of this folder says of slaves. Ends with
 * its standard input and prints its holding registers. */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE 200
#define SLOW 150

static modbus_mapping_t *map;

static void fill(void) {
    static const struct { int address; float value; } meter[] = {
        {0x00, 230.5f}, {0x06, 1.25f}, {0x0C, 287.5f}, {0x46, 50.0f}, {0x48, 12.75f},
    };
    map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    if (map == NULL) exit(3);
    for (int i = 0; i < SIZE; i++) {
        map->tab_registers[i] = 3 * i + 1;
        map->tab_input_bits[i] = i % 3 == 0;
    }
    for (size_t i = 0; i < sizeof meter / sizeof *meter; i++) {
        uint32_t bits; /* modbus_set_float_abcd of 3.1.6 swaps the bytes of each word, and its getter does not */
        memcpy(&bits, &meter[i].value, sizeof bits);
        MODBUS_SET_INT32_TO_INT16(map->tab_input_registers, meter[i].address, bits);
    }
}

static void finish(void) {
    printf("[");
    for (int i = 0; i < SIZE; i++) printf("%s%u", i ? ", " : "", map->tab_registers[i]);
    printf("]\n");
    exit(0);
}

/* Waits until `fd` has something; finishes when standard input ends before. */
static void wait_for(int fd) {
    fd_set set;
    char c;
    for (;;) {
        FD_ZERO(&set);
        FD_SET(0, &set);
        FD_SET(fd, &set);
        if (select(fd + 1, &set, NULL, NULL, NULL) < 0) exit(4);
        if (FD_ISSET(0, &set) && read(0, &c, 1) <= 0) finish();
        if (FD_ISSET(fd, &set)) return;
    }
}

static void serve(modbus_t *ctx, int is_tcp) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    const struct timespec pause = {1, 0};
    int header = modbus_get_header_length(ctx);
    for (;;) {
        wait_for(modbus_get_socket(ctx));
        int size = modbus_receive(ctx, query);
        if (size < 0 && is_tcp) return;
        if (size <= 0) continue;
        if (query[header] == 3 && (query[header + 1] << 8 | query[header + 2]) == SLOW) nanosleep(&pause, NULL);
        modbus_reply(ctx, query, size, map);
    }
}

int main(int argc, char **argv) {
    fill();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 4 && strcmp(argv[1], "rtu") == 0) {
        modbus_t *ctx = modbus_new_rtu(argv[2], atoi(argv[3]), 'N', 8, 1);
        if (ctx == NULL || modbus_set_slave(ctx, 1) < 0 || modbus_connect(ctx) < 0) {
            fprintf(stderr, "%s: %s\n", argv[2], modbus_strerror(errno));
            return 1;
        }
        printf("{\"port\": 0}\n");
        serve(ctx, 0);
    }
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
    int listening = ctx == NULL ? -1 : modbus_tcp_listen(ctx, 4);
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (listening < 0 || getsockname(listening, (struct sockaddr *)&address, &length) < 0) {
        fprintf(stderr, "tcp: %s\n", modbus_strerror(errno));
        return 1;
    }
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    for (;;) {
        wait_for(listening);
        if (modbus_tcp_accept(ctx, &listening) < 0) return 1;
        serve(ctx, 1);
    }
}
