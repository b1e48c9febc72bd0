// A driver in JavaScript, for the made-up cloud in examples/made-up-cloud.
//
// The user writes `resource: {type: made_up, endpoint: http://..., size: small}`, and the `key` into auth_data.yaml.

const SECTION = {
  type: "object",
  properties: { endpoint: { type: "string" }, size: { type: "string" } },
  required: ["endpoint", "size"],
  additionalProperties: false,
};
const CREDENTIALS = { type: "object", properties: { key: { type: "string" } }, required: ["key"] };

export const plugin = {
  describe() {
    return {
      name: "made_up",
      version: "0.1.0",
      keyword: "made_up",
      summary: "Machines of a made-up cloud",
      sectionSchema: JSON.stringify(SECTION),
      credentialsSchema: JSON.stringify(CREDENTIALS),
      needs: { network: ["endpoint"], interfaces: [] },
    };
  },
};

export const nodes = {
  // The instance's id is the token of the creation: this cloud makes one machine for it, however often it is asked.
  async create(request) {
    const scope = request.scope();
    const userData = request.userData();
    const body = {
      instance: request.instanceId(),
      infrastructure: request.infrastructureId(),
      name: request.machineName(),
      size: section(scope).size,
      user_data: userData === undefined ? null : new TextDecoder().decode(userData),
    };
    // Was the answer lost, then the machine may be there: the host asks `find`.
    const response = await call(scope, "POST", "/machines", body, "unknown-outcome");
    // It may have acted before it failed. (507 says that it is full.)
    if (response.status >= 500 && response.status !== 507) {
      throw fault("unknown-outcome", "made_up.server-error", words(response));
    }
    // So is an answer that can't be read.
    return observed(read(accepted(response), "unknown-outcome"));
  },

  async find(scope, instanceId) {
    const { machines } = await list(scope, `instance=${encodeURIComponent(instanceId)}`);
    return machines.length > 0 ? observed(machines[0]) : undefined;
  },

  // As many answers as handles, in their order.
  async observe(scope, handles) {
    const machines = new Map();
    let next = "";
    while (next !== undefined) {
      const page = await list(scope, `after=${encodeURIComponent(next)}`);
      page.machines.forEach((machine) => machines.set(machine.id, machine));
      next = page.next;
    }
    return handles.map((handle) => {
      const machine = machines.get(handle.data);
      return machine ? observed(machine) : { handle, phase: "gone", addresses: [], attributes: [] };
    });
  },

  async destroy(scope, handle) {
    const response = await call(scope, "DELETE", `/machines/${encodeURIComponent(handle.data)}`);
    // Gone already is fine.
    if (response.status !== 404) accepted(response);
    // But a page of something in between has removed nothing.
    read(response);
  },
};

export const inventory = {
  async listOwned(scope, cursor) {
    const page = await list(scope, `after=${encodeURIComponent(cursor ?? "")}`);
    const machines = page.machines.map((machine) => ({
      instanceId: machine.instance,
      infrastructureId: machine.infrastructure,
      observed: observed(machine),
    }));
    return { machines, cursor: page.next };
  },
};

function section(scope) {
  return JSON.parse(scope.section());
}

function observed(machine) {
  const phases = { starting: "pending", running: "running", stopped: "stopped" };
  return {
    handle: { version: 1, data: machine.id },
    phase: phases[machine.state] ?? "unknown",
    addresses: machine.address ? [{ value: machine.address, internal: false }] : [],
    attributes: [],
  };
}

async function list(scope, query) {
  const page = read(accepted(await call(scope, "GET", `/machines?${query}`)));
  if (!Array.isArray(page.machines)) throw fault("retry", "made_up.bad-answer", "the answer is no list of machines");
  return page;
}

// A call with the key in its head. The driver never sees the key: the host puts it where the placeholder is.
async function call(scope, method, path, body, reaction = "retry") {
  const key = scope.credential()?.secret("key")?.placeholder("plain");
  if (key === undefined) throw fault("denied", "made_up.no-credential", "there is no key for this cloud");
  const url = scope.context().urlFor(section(scope).endpoint) + path;
  try {
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: response.status, retryAfter: response.headers.get("retry-after"), text: await response.text() };
  } catch (error) {
    throw fault(reaction, "made_up.unreachable", `no answer from ${url}: ${error.message ?? error}`);
  }
}

function read(response, reaction = "retry") {
  try {
    return JSON.parse(response.text);
  } catch (error) {
    throw fault(reaction, "made_up.bad-answer", `the answer can't be read: ${error.message}`);
  }
}

// Refusals, in terms of what the host should do next.
function accepted(response) {
  const { status } = response;
  if (status >= 200 && status < 300) return response;
  const said = words(response);
  const delay = Number(response.retryAfter);
  const after = delay > 0 ? BigInt(delay * 1000) : undefined;
  if (status === 401 || status === 403) throw fault("denied", "made_up.denied", said);
  if (status === 422) {
    const here = { pointer: "/size", message: "no such size here" };
    throw fault("give-up", "made_up.bad-size", said, undefined, [here]);
  }
  if (status === 507) throw fault("no-capacity", "made_up.full", said, after);
  if (status === 429) throw fault("retry", "made_up.throttled", said, after);
  if (status >= 500) throw fault("retry", "made_up.server-error", said, after);
  throw fault("give-up", "made_up.refused", said);
}

function words(response) {
  return `the cloud answers with status ${response.status}: ${response.text.slice(0, 200)}`;
}

function fault(reaction, code, message, retryAfterMs = undefined, details = []) {
  return { reaction, code, message, retryAfterMs, details };
}
