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
  // The instance's id is the token of the creation: this cloud makes one machine for it, also when the request is repeated.
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
    // If the answer was lost, or gives no information (a 500, a page of something in between), the machine may exist: the host
    // calls `find`.
    const [cloud, machine] = read(await call(scope, "POST", "/machines", body, "unknown-outcome"), "unknown-outcome");
    return observed(machine, cloud);
  },

  // Only an answer of the cloud itself, which carries its name, can prove that there is no machine.
  async find(scope, instanceId) {
    const [cloud, { machines }] = await list(scope, `instance=${encodeURIComponent(instanceId)}`);
    return machines.length > 0 ? observed(machines[0], cloud) : undefined;
  },

  // Returns as many answers as handles, in their order.
  async observe(scope, handles) {
    const machines = new Map();
    let next = "";
    while (next !== undefined) {
      const [cloud, page] = await list(scope, `after=${encodeURIComponent(next)}`);
      // A machine that is missing from another cloud's list is not gone.
      handles.forEach((handle) => idOf(handle, cloud));
      page.machines.map((machine) => observed(machine, cloud)).forEach((seen) => machines.set(seen.handle.data, seen));
      next = page.next;
    }
    return handles.map(
      (handle) => machines.get(handle.data) ?? { handle, phase: "gone", addresses: [], attributes: [] },
    );
  },

  async destroy(scope, handle) {
    // Another cloud may have a machine of this number, which is not ours.
    const [cloud] = read(await call(scope, "GET", "/"));
    const id = idOf(handle, cloud);
    const response = await call(scope, "DELETE", `/machines/${encodeURIComponent(id)}`);
    // A machine that is gone already is removed, if this cloud reports so for this machine.
    if (response.status === 404 && response.cloud === cloud && response.text.includes(id)) return;
    read(response);
  },
};

export const inventory = {
  async listOwned(scope, cursor) {
    const [cloud, page] = await list(scope, `after=${encodeURIComponent(cursor ?? "")}`);
    const machines = page.machines.map((machine) => ({
      instanceId: machine.instance,
      infrastructureId: machine.infrastructure,
      observed: observed(machine, cloud),
    }));
    return { machines, cursor: page.next };
  },
};

function section(scope) {
  return JSON.parse(scope.section());
}

// The handle has the cloud's name beside the machine's, to recognise later answers of this cloud.
function observed(machine, cloud) {
  const phases = { starting: "pending", running: "running", stopped: "stopped" };
  return {
    handle: { version: 1, data: `${cloud}/${machine.id}` },
    phase: phases[machine.state] ?? "unknown",
    addresses: machine.address ? [{ value: machine.address, internal: false }] : [],
    attributes: [],
  };
}

async function list(scope, query) {
  const [cloud, page] = read(await call(scope, "GET", `/machines?${query}`));
  if (!Array.isArray(page.machines)) throw fault("retry", "made_up.bad-answer", "the answer is not a list of machines");
  return [cloud, page];
}

// Returns the number of a machine; fails if it is not a machine of this cloud.
function idOf(handle, cloud) {
  const [owner, id] = handle.data.split("/");
  if (owner !== cloud) throw fault("retry", "made_up.another-cloud", `${handle.data} is not of the cloud ${cloud}`);
  return id;
}

// Sends a request with the key in its head. The driver never sees the key: the host replaces the placeholder by it.
async function call(scope, method, path, body, reaction = "retry") {
  const key = scope.credential()?.secret("key")?.placeholder("plain");
  if (key === undefined) throw fault("denied", "made_up.no-credential", "the credentials have no key for this cloud");
  const url = scope.context().urlFor(section(scope).endpoint) + path;
  try {
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const [retryAfter, cloud] = ["retry-after", "cloud"].map((name) => response.headers.get(name));
    return { status: response.status, retryAfter, cloud, text: await response.text() };
  } catch (error) {
    throw fault(reaction, "made_up.unreachable", `no answer from ${url}: ${error.message ?? error}`);
  }
}

// Returns the cloud that answered, and its answer. `noInformation` is the reaction to answers without information about the
// request.
function read(response, noInformation = "retry") {
  const text = accepted(response, noInformation).text;
  try {
    return [response.cloud, JSON.parse(text)];
  } catch (error) {
    throw fault(noInformation, "made_up.bad-answer", `cannot parse the answer: ${error.message}`);
  }
}

// Throws faults for refusals, with the reaction of the host.
function accepted(response, noInformation) {
  const { status, cloud } = response;
  const isTheCloud = cloud !== null;
  if (status >= 200 && status < 300 && isTheCloud) return response;
  const message = words(response);
  const delay = Number(response.retryAfter);
  const after = delay > 0 ? BigInt(delay * 1000) : undefined;
  if (status === 401 || status === 403) throw fault("denied", "made_up.denied", message);
  if (status === 429) throw fault("retry", "made_up.throttled", message, after);
  if (status === 507 && isTheCloud) throw fault("no-capacity", "made_up.full", message, after);
  if (status >= 500) throw fault(noInformation, "made_up.server-error", message, after);
  // A gateway, a portal, another program at this address: its answer gives no information.
  if (!isTheCloud) throw fault(noInformation, "made_up.not-the-cloud", `the answer is not from the cloud: ${message}`);
  if (status === 422) {
    const here = { pointer: "/size", message: "no such size here" };
    throw fault("give-up", "made_up.bad-size", message, undefined, [here]);
  }
  throw fault("give-up", "made_up.refused", message);
}

function words(response) {
  return `the cloud answers with status ${response.status}: ${response.text.slice(0, 200)}`;
}

function fault(reaction, code, message, retryAfterMs = undefined, details = []) {
  return { reaction, code, message, retryAfterMs, details };
}
